/* fuzz-bytes - what the targets share whose inputs are plain bytes, not recipes of images
 * (fuzz-image.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "core/disk.h"

/* The target: looks at an input of len bytes; 0, as libFuzzer wants it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Set by a target whose seeds are to be accepted: whether the last input was not. */
extern bool fuzz_refused;

/* A finding: tell it and abort. */
_Noreturn void fault(const char *what);

/* A result below 0 is a finding unless `err` has a code and a sentence. */
void fault_unless_told(int r, const struct im_error *err);

/* From now on what libxml2 would write to standard error is a finding. */
void fault_if_xml_is_loud(void);

/* A disk in memory, as an input is one: what is past its end reads as zeros. */
#define FUZZ_DISK_MAX 65536u
extern uint8_t fuzz_disk_bytes[FUZZ_DISK_MAX];
extern const struct im_disk_ops fuzz_disk_ops;

/* Fill it with the input, of FUZZ_DISK_MAX bytes at most. */
void fuzz_disk_fill(const uint8_t *data, size_t len);

/* The input as a text: exactly its bytes and a NUL, so that a sanitizer sees its end.  The caller
 * frees it; NULL when out of memory. */
char *fuzz_text(const uint8_t *data, size_t len);
