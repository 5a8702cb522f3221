/* os-inner - what the files of the analysis share. */
#pragma once

#include "guest/os.h"

struct analysis {
    struct im_guest *guest;
    struct im_os *os;
    struct im_error *err;
};

/* A text of the guest: printable, cut to fit. */
void os_set(char *field, size_t size, const char *text);

/* Read a text file of the guest: 0 and the text, 1 when there is none or it cannot be read (what
 * that means for the analysis is remembered), or a failure of ours. */
int os_text(struct analysis *analysis, const char *path, size_t max, struct im_buffer *text);

/* Is one of these files or directories there (NULL-terminated)?  0 or a failure of ours. */
int os_has(struct analysis *analysis, const char *const *paths, enum im_known *ret_has);

/* The names in a directory, sorted; 1: it cannot be read.  names has room for `room`; the texts are
 * the buffer's. */
int os_names(struct analysis *analysis, const char *path, struct im_buffer *text,
             const char **names, size_t room, size_t *ret_count);

/* 0 or 1, as os_text returns them, for the result of a question to the guest. */
int os_result(struct analysis *analysis, int r, const struct im_error *why);

/* The parts; each fills in its fields. */
int os_kernels(struct analysis *analysis);
int os_users(struct analysis *analysis);
int os_cloud_init(struct analysis *analysis);
int os_windows(struct analysis *analysis);
