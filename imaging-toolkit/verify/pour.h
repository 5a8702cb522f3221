/* pour - what the second readers share: a disk goes in order to standard output. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The name by which a reader opens its standard input, whatever that is called elsewhere. */
#define POUR_INPUT "/proc/self/fd/0"

/* Reads up to len bytes of the disk at offset; the count, or ≤ 0 on failure. */
typedef ssize_t (*pour_read_fn)(void *arg, void *buf, size_t len, uint64_t offset);

/* Write all `size` bytes of a disk to standard output.
 * 0; 1 when read failed, *ret_offset then says where; else -errno of writing, or -ENOMEM. */
int pour(pour_read_fn read, void *arg, uint64_t size, uint64_t *ret_offset);
