/* tar - headers of tar files (POSIX.1-1988 ustar, GNU and pax), as far as one member needs them.
 *
 * Nothing is ever extracted by name: names are not even kept. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define IM_TAR_BLOCK 512

/* Bytes of the data of an extended header: a long name, a handful of pax records. */
#define IM_TAR_EXTENDED_MAX 65536

enum im_tar_kind {
    IM_TAR_END,   /* a block of zeros: no more members */
    IM_TAR_FILE,  /* a regular file's header */
    IM_TAR_PAX,   /* data are records about the next header */
    IM_TAR_NAME,  /* data are the next header's long name */
    IM_TAR_OTHER, /* a link, directory, device, sparse file … */
};

struct im_tar_header {
    enum im_tar_kind kind;
    uint64_t size; /* bytes of data that follow, in whole blocks */
    char type;     /* the byte in the header */
};

/* What a block says; -EBADMSG when it is no header. */
int im_tar_header(const uint8_t block[IM_TAR_BLOCK], struct im_tar_header *ret_header,
                  struct im_error *err);

/* Read pax records: a "size" among them goes into *size, which is left alone without one.
 * -EBADMSG damaged, -EOPNOTSUPP "GNU.sparse": the data are not the file's bytes in order. */
int im_tar_pax(const char *records, size_t len, uint64_t *size, struct im_error *err);

/* What to call a member of this type: "a symbolic link". */
const char *im_tar_type_name(char type);

/* Write the header of a regular file called `name` (at most 99 bytes) of `size` bytes. */
void im_tar_make(uint8_t ret_block[IM_TAR_BLOCK], const char *name, uint64_t size);
