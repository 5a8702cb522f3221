/* zip - the directory of a zip file (PKWARE APPNOTE 6.3), read and proven.  Between zip.c, which
 * finds and gives a member, and zip-directory.c. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/source.h"
#include "unpack/tar.h"

/* A zip file of one disk has one; those with a machine have some dozens. */
#define ZIP_MEMBERS_MAX 1024u
/* Their entries with names and extra fields. */
#define ZIP_DIRECTORY_MAX (1u << 20)
/* The record at the end, and the longest comment. */
#define ZIP_END     22u
#define ZIP_END_MAX (ZIP_END + 65535u)

#define ZIP_LOCAL       0x04034b50u
#define ZIP_ENTRY       0x02014b50u
#define ZIP_END_RECORD  0x06054b50u
#define ZIP_END64       0x06064b50u
#define ZIP_LOCATOR64   0x07064b50u
#define ZIP_DESCRIPTOR  0x08074b50u
#define ZIP_LOCAL_LEN   30u
#define ZIP_ENTRY_LEN   46u
#define ZIP_END64_LEN   56u
#define ZIP_LOCATOR_LEN 20u

/* Flags. */
#define ZIP_ENCRYPTED 0x2041u /* plainly, strongly, or with the directory masked */
#define ZIP_STREAMED  0x0008u /* checksum and sizes follow the data */

enum zip_method { ZIP_STORED = 0, ZIP_DEFLATED = 8 };

struct zip_member {
    char name[IM_MEMBER_NAME_MAX + 1];
    uint16_t flags, method;
    uint32_t crc;
    uint64_t packed, size; /* bytes; UINT64_MAX in a local header: they follow the data */
    uint64_t header;       /* offset of the local header */
    uint64_t at;           /* of the data; 0: not looked at yet */
};

struct zip_directory {
    uint64_t at; /* where the first entry begins */
    unsigned count;
    struct zip_member member[ZIP_MEMBERS_MAX]; /* files only, in the order they lie in */
};

/* Read a local header at `offset` of source: 1 a member (also a directory's, whose name ends with a
 * slash), 0: something else is there.  -EBADMSG, -EOPNOTSUPP, the source's. */
int im_zip_local(struct im_source *source, uint64_t offset, struct zip_member *ret_member,
                 struct im_error *err);

/* Prove the end of a zip file: `len` bytes at `at` of the source called `name`, up to its end, with
 * the record at the end and, unless the answer is 1, the whole directory.  1: the directory begins
 * at *ret_need, before `at`.  -EBADMSG, -EOPNOTSUPP. */
int im_zip_end(const char *name, const uint8_t *buf, size_t len, uint64_t at,
               struct zip_directory *ret_directory, uint64_t *ret_need, struct im_error *err);
