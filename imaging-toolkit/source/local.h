/* local - objects of an object store on this machine, read from its files instead of fetched.
 *
 * The store of the service's standalone mode (imaging-service/objects/) keeps each object in a file
 * of its own, its bytes from offset 0 on.  Whoever may read the object, by a signature the store
 * has just checked, is told the file's name in the answer:
 *
 *     X-Euca-Object-File: <name below the store's directory> <im_file_id of the file>
 *
 * The name alone proves nothing later: the file is opened each time only if it still is the one.
 * It is never written to, and the store only ever replaces files by others. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The request header that asks for the answer's. */
#define IM_LOCAL_ASK "X-Euca-Object-File: wanted"

struct im_local;

/* Files below the store's directory.  NULL when it cannot be opened. */
struct im_local *im_local_new(const char *dir);
struct im_local *im_local_free(struct im_local *local);

/* Descriptor of the regular file that `told` (the header's value) names beneath the directory and
 * that holds at least len bytes; borrowed until the next call.  -1 when it is not there, not a
 * plain file reached without links, or no longer the one that was meant. */
int im_local_file(struct im_local *local, const char *told, uint64_t len);
