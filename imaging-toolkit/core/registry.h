/* registry - the tables of sources, formats, stages and stores, written from the Makefile's lists.
 */
#pragma once

#include "core/format.h"
#include "core/source.h"
#include "core/stage.h"
#include "core/store.h"

/* Each ends with NULL. */
extern const struct im_source_type *const im_source_types[];
extern const struct im_format *const im_formats[];
extern const struct im_stage *const im_stages[];
extern const struct im_store_type *const im_store_types[];
