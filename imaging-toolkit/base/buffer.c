/* buffer - bytes that grow up to a ceiling. */

#include <config.h>

#include "base/buffer.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

int im_buffer_add(struct im_buffer *buffer, const void *data, size_t len)
{
    size_t capacity = buffer->capacity ? buffer->capacity : 256;
    char *grown;

    if (len > buffer->ceiling - buffer->len)
        return -EFBIG;
    if (len > SIZE_MAX / 4 - buffer->len) /* doubling would overflow */
        return -ENOMEM;
    while (capacity <= buffer->len + len)
        capacity *= 2;
    if (capacity != buffer->capacity) {
        grown = realloc(buffer->data, capacity);
        if (!grown)
            return -ENOMEM;
        buffer->data = grown;
        buffer->capacity = capacity;
    }
    if (len > 0)
        memcpy(buffer->data + buffer->len, data, len);
    buffer->len += len;
    buffer->data[buffer->len] = '\0';
    return 0;
}

int im_buffer_puts(struct im_buffer *buffer, const char *text)
{
    return im_buffer_add(buffer, text, strlen(text));
}

int im_buffer_le32(struct im_buffer *buffer, uint32_t value)
{
    uint32_t le = htole32(value);

    return im_buffer_add(buffer, &le, sizeof(le));
}

int im_buffer_le64(struct im_buffer *buffer, uint64_t value)
{
    uint64_t le = htole64(value);

    return im_buffer_add(buffer, &le, sizeof(le));
}

int im_buffer_printf(struct im_buffer *buffer, const char *format, ...)
{
    char *text IM_FREE = NULL;
    va_list args;
    int n;

    va_start(args, format);
    n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0) {
        text = NULL;
        return -ENOMEM;
    }
    return im_buffer_add(buffer, text, (size_t)n);
}

void im_buffer_clear(struct im_buffer *buffer)
{
    buffer->len = 0;
    if (buffer->data)
        buffer->data[0] = '\0';
}

char *im_buffer_steal(struct im_buffer *buffer)
{
    char *data = buffer->data ? buffer->data : calloc(1, 1);

    buffer->data = NULL;
    buffer->len = buffer->capacity = 0;
    return data;
}

void im_buffer_done(struct im_buffer *buffer)
{
    free(buffer->data);
    buffer->data = NULL;
    buffer->len = buffer->capacity = 0;
}
