/* registry - the tables; registry.def is generated from the lists in the Makefile. */

#include <config.h>

#include "core/registry.h"

#include <stddef.h>

#define REGISTER_source(name) extern const struct im_source_type im_source_##name;
#define REGISTER_format(name) extern const struct im_format im_format_##name;
#define REGISTER_stage(name)  extern const struct im_stage im_stage_##name;
#define REGISTER_store(name)  extern const struct im_store_type im_store_##name;
#include "core/registry.def"
#undef REGISTER_source
#undef REGISTER_format
#undef REGISTER_stage
#undef REGISTER_store

#define REGISTER_format(name)
#define REGISTER_stage(name)
#define REGISTER_store(name)
#define REGISTER_source(name) &im_source_##name,
const struct im_source_type *const im_source_types[] = {
#include "core/registry.def"
    NULL
};
#undef REGISTER_source
#define REGISTER_source(name)

#undef REGISTER_format
#define REGISTER_format(name) &im_format_##name,
const struct im_format *const im_formats[] = {
#include "core/registry.def"
    NULL
};
#undef REGISTER_format
#define REGISTER_format(name)

#undef REGISTER_stage
#define REGISTER_stage(name) &im_stage_##name,
const struct im_stage *const im_stages[] = {
#include "core/registry.def"
    NULL
};
#undef REGISTER_stage
#define REGISTER_stage(name)

#undef REGISTER_store
#define REGISTER_store(name) &im_store_##name,
const struct im_store_type *const im_store_types[] = {
#include "core/registry.def"
    NULL
};
