/* io - whole reads and writes on descriptors, and files that appear whole or not at all. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Read up to len bytes at offset, going on after short reads and signals.
 * Returns the number of bytes read (less than len only at the end of the file) or -errno. */
ssize_t im_pread(int fd, void *buf, size_t len, uint64_t offset);

/* Write all of buf at offset; 0 or -errno. */
int im_pwrite(int fd, const void *buf, size_t len, uint64_t offset);

/* Write all of buf at the descriptor's position; 0 or -errno. */
int im_write(int fd, const void *buf, size_t len);

/* First of all in a program: let those of descriptors 0 to 2 that are closed be open, so that no
 * file opened later is standard output to anybody.  Reading and writing still fail with EBADF. */
void im_fill_standard(void);

/* What lies at offset of a file, at most len bytes of it: data, or a hole; where the file system
 * cannot tell, all is data. */
void im_file_extent(int fd, uint64_t offset, uint64_t len, bool *ret_hole, uint64_t *ret_len);

/* What tells a file from every other, and from itself after a change: inode and time of the last
 * change of its bytes. */
struct stat;
struct im_file_id {
    char text[64];
};
struct im_file_id im_file_id(const struct stat *st);

/* The same file, with the same size and time of the last change of its bytes? */
bool im_stat_same(const struct stat *a, const struct stat *b);

/* fsync the directory that holds `path`; 0 or -errno. */
int im_sync_parent(const char *path);

/* The failure of a path that cannot be opened.  One that looks like an URL may be one that nobody
 * here knows: its query is not told. */
int im_fail_open(const char *path, int number, struct im_error *err);

/* Read a whole file of at most max bytes into a new NUL-terminated string owned by the caller.
 * Errors: -EFBIG when it is larger, -ECANCELED when a signal's handler ran while a FIFO or a device
 * was waited for, else from open and read; err says which file. */
int im_read_file(const char *path, size_t max, char **ret_text, size_t *ret_len,
                 struct im_error *err);
