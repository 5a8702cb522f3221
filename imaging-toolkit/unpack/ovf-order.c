/* ovf-order - what hangs on what in an OVF: the files of disks, and the order of disks by the
 * controllers they hang on; and the units capacities are told in. */

#include <config.h>

#include "unpack/ovf-inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

int im_ovf_refuse(struct im_error *err, const char *format, ...)
{
    char what[IM_ERROR_MAX - 40];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    return im_fail_code(err, EBADMSG, "InvalidOvf", "OVF file parsing error: %s", what);
}

/* The number of `base` to the power `exponent`, when it fits. */
static int power(uint64_t base, uint64_t exponent, uint64_t *ret_value)
{
    uint64_t value = 1;

    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(value, base, &value))
            return -ERANGE;
    *ret_value = value;
    return 0;
}

/* Bytes of a unit as DSP0004 writes it: "byte", "byte * 2^30", "byte*1024". */
int im_ovf_units(const char *text, uint64_t *ret_bytes)
{
    char packed[32];
    uint64_t base, exponent = 1;
    size_t n = 0;
    char *caret;

    for (; *text && n + 1 < sizeof(packed); text++)
        if (*text != ' ')
            packed[n++] = *text;
    packed[n] = '\0';
    if (*text || strncmp(packed, "byte", 4) != 0)
        return -EINVAL;
    *ret_bytes = 1;
    if (!packed[4])
        return 0;
    caret = strchr(packed, '^');
    if (caret)
        *caret++ = '\0';
    if (packed[4] != '*' || im_parse_uint(packed + 5, 1u << 30, &base) < 0 || base == 0 ||
        (caret && im_parse_uint(caret, 60, &exponent) < 0))
        return -EINVAL;
    return power(base, exponent, ret_bytes);
}

static int find_files(struct im_ovf *ovf, const struct im_ovf_wiring *wiring, struct im_error *err)
{
    char shown[64], disk[64];

    for (unsigned i = 0; i < ovf->disk_count; i++) {
        const char *ref = wiring->file_ref[i];

        ovf->disk[i].file = -1;
        for (unsigned j = 0; ref && j < ovf->file_count; j++)
            if (strcmp(ovf->file[j].id, ref) == 0)
                ovf->disk[i].file = (int)j;
        if (ref && ovf->disk[i].file < 0)
            return im_ovf_refuse(err,
                                 "the disk '%s' names the file '%s', which is not in <References>",
                                 im_text_printable(disk, sizeof(disk), ovf->disk[i].id),
                                 im_text_printable(shown, sizeof(shown), ref));
    }
    return 0;
}

/* The id behind "ovf:/disk/", "ovf://disk/" or "/disk/"; NULL: it is no disk. */
static const char *disk_of(const struct im_ovf_device *device)
{
    const char *found = device->resource ? strstr(device->resource, "/disk/") : NULL;

    return found ? found + strlen("/disk/") : NULL;
}

static int number_of(const char *text, const char *what, uint64_t *ret_value, struct im_error *err)
{
    char shown[48];

    if (!text) /* the only one of its controller, or a controller alone */
        return 0;
    if (im_parse_uint(text, UINT32_MAX, ret_value) == 0)
        return 0;
    return im_ovf_refuse(err, "the %s '%s' of a device is not a number", what,
                         im_text_printable(shown, sizeof(shown), text));
}

static int attach(const struct im_ovf_wiring *wiring, struct im_ovf_disk *disk,
                  const struct im_ovf_device *device, struct im_error *err)
{
    disk->controller = disk->controller_place = disk->unit = 0;
    for (unsigned i = 0; device->parent && i < wiring->device_count; i++) {
        const struct im_ovf_device *controller = &wiring->device[i];

        if (!controller->id || strcmp(controller->id, device->parent) != 0)
            continue;
        disk->controller_place = i;
        if (number_of(controller->address, "Address", &disk->controller, err) < 0)
            return -EBADMSG;
        break;
    }
    return number_of(device->unit, "AddressOnParent", &disk->unit, err);
}

static int compare(const void *a, const void *b)
{
    const struct im_ovf_disk *x = a, *y = b;
    const uint64_t keys[][2] = { { x->controller, y->controller },
                                 { x->controller_place, y->controller_place },
                                 { x->unit, y->unit },
                                 { x->place, y->place } };

    for (size_t i = 0; i < 4; i++)
        if (keys[i][0] != keys[i][1])
            return keys[i][0] < keys[i][1] ? -1 : 1;
    return 0;
}

static int order_disks(struct im_ovf *ovf, const struct im_ovf_wiring *wiring, struct im_error *err)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < ovf->disk_count; i++) {
        struct im_ovf_disk *disk = &ovf->disk[i];

        disk->controller = UINT64_MAX; /* not attached: the last */
        for (unsigned j = 0; r == 0 && j < wiring->device_count; j++) {
            const char *id = disk_of(&wiring->device[j]);

            if (id && strcmp(id, disk->id) == 0 && disk->controller == UINT64_MAX)
                r = attach(wiring, disk, &wiring->device[j], err);
        }
    }
    qsort(ovf->disk, ovf->disk_count, sizeof(ovf->disk[0]), compare);
    return r;
}

int im_ovf_order(struct im_ovf *ovf, const struct im_ovf_wiring *wiring, struct im_error *err)
{
    int r = find_files(ovf, wiring, err);

    return r == 0 ? order_disks(ovf, wiring, err) : r;
}
