/* buffer - bytes that grow up to a ceiling chosen at birth. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Start with IM_BUFFER(ceiling); data is always followed by a NUL that len does not count. */
struct im_buffer {
    char *data;      /* NULL while empty */
    size_t len;      /* bytes held */
    size_t capacity; /* bytes allocated */
    size_t ceiling;  /* never more than this many bytes */
};

#define IM_BUFFER(limit) ((struct im_buffer){ .ceiling = (limit) })

/* Append; 0, -EFBIG above the ceiling, -ENOMEM.  On failure the buffer is unchanged. */
int im_buffer_add(struct im_buffer *buffer, const void *data, size_t len);

/* Append a NUL-terminated string; errors as im_buffer_add. */
int im_buffer_puts(struct im_buffer *buffer, const char *text);

/* Append a number, little-endian; errors as im_buffer_add. */
int im_buffer_le32(struct im_buffer *buffer, uint32_t value);
int im_buffer_le64(struct im_buffer *buffer, uint64_t value);

/* Append formatted text; errors as im_buffer_add. */
int im_buffer_printf(struct im_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Forget the contents, keep the memory. */
void im_buffer_clear(struct im_buffer *buffer);

/* Hand the string over to the caller (free with free()); "" when empty; NULL when out of memory. */
char *im_buffer_steal(struct im_buffer *buffer);

/* Release the contents. */
void im_buffer_done(struct im_buffer *buffer);

#define IM_BUFFER_DONE __attribute__((cleanup(im_buffer_done)))
