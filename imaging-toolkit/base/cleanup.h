/* cleanup - scope attributes: what a block owns is released when the block ends. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void im_cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void im_cleanup_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

static inline void im_cleanup_fclose(FILE **file)
{
    if (*file)
        (void)fclose(*file);
}

#define IM_CLEANUP(function) __attribute__((cleanup(function)))
#define IM_FREE              IM_CLEANUP(im_cleanup_free)   /* char *text IM_FREE = NULL; */
#define IM_CLOSE             IM_CLEANUP(im_cleanup_close)  /* int fd IM_CLOSE = -1; */
#define IM_FCLOSE            IM_CLEANUP(im_cleanup_fclose) /* FILE *file IM_FCLOSE = NULL; */

/* Hand an owned pointer over: gives its value and leaves NULL behind. */
#define im_steal(pointer)                                                                          \
    ({                                                                                             \
        __typeof__(pointer) im_taken = pointer;                                                    \
        (pointer) = NULL;                                                                          \
        im_taken;                                                                                  \
    })

/* The same for a descriptor; leaves -1 behind. */
static inline int im_steal_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}
