/* tar - headers of tar files: read, and made. */

#include <config.h>

#include "source/tar.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* Places in the header. */
enum {
    NAME = 0,
    MODE = 100,
    UID = 108,
    GID = 116,
    SIZE = 124,
    MTIME = 136,
    SUM = 148,
    TYPE = 156,
    MAGIC = 257,
    SIZE_LEN = 12,
    SUM_LEN = 8,
    NAME_LEN = 100
};

/* Octal digits with blanks around them; -EINVAL. */
static int parse_octal(const uint8_t *field, size_t len, uint64_t *ret_value)
{
    uint64_t value = 0;
    size_t i = 0, digits = 0;

    while (i < len && field[i] == ' ')
        i++;
    for (; i < len && field[i] >= '0' && field[i] <= '7'; i++, digits++)
        value = value << 3 | (uint64_t)(field[i] - '0'); /* 12 digits are 36 bits */
    while (i < len && (field[i] == ' ' || field[i] == '\0'))
        i++;
    if (i < len || digits == 0)
        return -EINVAL;
    *ret_value = value;
    return 0;
}

/* GNU's way for numbers that have no room as octal digits: binary, the first bit set. */
static int parse_number(const uint8_t *field, size_t len, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (field[0] != 0x80)
        return parse_octal(field, len, ret_value);
    for (size_t i = 1; i < len; i++) {
        if (value >> 55) /* beyond INT64_MAX with the next byte */
            return -EINVAL;
        value = value << 8 | field[i];
    }
    *ret_value = value;
    return 0;
}

/* The sum of all bytes, those of the sum itself taken as blanks. */
static uint64_t sum_of(const uint8_t block[IM_TAR_BLOCK])
{
    uint64_t sum = 0;

    for (size_t i = 0; i < IM_TAR_BLOCK; i++)
        sum += i >= SUM && i < SUM + SUM_LEN ? ' ' : block[i];
    return sum;
}

static enum im_tar_kind kind_of(const uint8_t block[IM_TAR_BLOCK])
{
    size_t name_len = strnlen((const char *)block, NAME_LEN);

    switch (block[TYPE]) {
    case '\0': /* before POSIX a directory was a file whose name ends with a slash */
        return name_len > 0 && block[name_len - 1] == '/' ? IM_TAR_OTHER : IM_TAR_FILE;
    case '0':
        return IM_TAR_FILE;
    case 'x':
        return IM_TAR_PAX;
    case 'L':
        return IM_TAR_NAME;
    default:
        return IM_TAR_OTHER;
    }
}

int im_tar_header(const uint8_t block[IM_TAR_BLOCK], struct im_tar_header *ret_header,
                  struct im_error *err)
{
    static const uint8_t zeros[IM_TAR_BLOCK];
    uint64_t sum, size;

    if (memcmp(block, zeros, IM_TAR_BLOCK) == 0) {
        *ret_header = (struct im_tar_header){ .kind = IM_TAR_END };
        return 0;
    }
    if (parse_octal(block + SUM, SUM_LEN, &sum) < 0 || sum != sum_of(block))
        return im_fail(err, EBADMSG, "what should be a tar header has a wrong checksum");
    if (parse_number(block + SIZE, SIZE_LEN, &size) < 0 || size > INT64_MAX)
        return im_fail(err, EBADMSG, "a tar header has a damaged size");
    *ret_header = (struct im_tar_header){
        .kind = kind_of(block),
        .size = size,
        .type = (char)block[TYPE],
    };
    return 0;
}

/* One record, "27 keyword=value\n" with its own length: its bytes in *ret_len. */
static int pax_record(const char *record, size_t len, size_t *ret_len, uint64_t *size,
                      struct im_error *err)
{
    const char *blank = memchr(record, ' ', len), *equals;
    char number[24];
    uint64_t record_len = 0;
    size_t digits = blank ? (size_t)(blank - record) : 0, room;

    if (digits > 0 && digits < sizeof(number)) {
        memcpy(number, record, digits);
        number[digits] = '\0';
        if (im_parse_uint(number, len, &record_len) < 0)
            record_len = 0;
    }
    equals = blank ? memchr(blank, '=', len - digits) : NULL;
    if (!equals || record_len < (size_t)(equals - record) + 2 || record[record_len - 1] != '\n')
        return im_fail(err, EBADMSG, "a pax header is damaged");
    if (memmem(blank, (size_t)(equals - blank), "GNU.sparse", 10))
        return im_fail(err, EOPNOTSUPP,
                       "it is a tar file with a sparse member; bundle without tar's option -S");
    room = record_len - 1 - (size_t)(equals + 1 - record);
    if (equals - blank == 5 && memcmp(blank + 1, "size", 4) == 0) {
        if (room >= sizeof(number))
            return im_fail(err, EBADMSG, "a pax header has a damaged size");
        memcpy(number, equals + 1, room);
        number[room] = '\0';
        if (im_parse_uint(number, INT64_MAX, size) < 0)
            return im_fail(err, EBADMSG, "a pax header has a damaged size");
    }
    *ret_len = (size_t)record_len;
    return 0;
}

int im_tar_pax(const char *records, size_t len, uint64_t *size, struct im_error *err)
{
    while (len > 0) {
        size_t record;
        int r = pax_record(records, len, &record, size, err);

        if (r < 0)
            return r;
        records += record;
        len -= record;
    }
    return 0;
}

const char *im_tar_type_name(char type)
{
    switch (type) {
    case '1':
        return "a hard link";
    case '2':
        return "a symbolic link";
    case '3':
    case '4':
        return "a device";
    case '5':
    case '\0':
        return "a directory";
    case '6':
        return "a pipe";
    case 'S':
        return "a sparse file (made by 'tar -S')";
    default:
        return "something that is no file";
    }
}

void im_tar_make(uint8_t ret_block[IM_TAR_BLOCK], const char *name, uint64_t size)
{
    char *block = (char *)ret_block;

    memset(ret_block, 0, IM_TAR_BLOCK);
    (void)snprintf(block + NAME, NAME_LEN, "%s", name);
    (void)snprintf(block + MODE, 8, "%07o", 0644u);
    (void)snprintf(block + UID, 8, "%07o", 0u);
    (void)snprintf(block + GID, 8, "%07o", 0u);
    (void)snprintf(block + MTIME, 12, "%011o", 0u);
    if (size >> 33) { /* more than eleven octal digits hold */
        ret_block[SIZE] = 0x80;
        for (int i = 0; i < 8; i++)
            ret_block[SIZE + SIZE_LEN - 1 - i] = (uint8_t)(size >> 8 * i);
    } else {
        (void)snprintf(block + SIZE, SIZE_LEN, "%011llo", (unsigned long long)size);
    }
    block[TYPE] = '0';
    memcpy(block + MAGIC, "ustar  ", 8); /* GNU's, for the size above */
    (void)snprintf(block + SUM, SUM_LEN, "%06o", (unsigned)sum_of(ret_block));
    block[SUM + SUM_LEN - 1] = ' ';
}
