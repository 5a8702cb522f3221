/* json - whether jansson had the memory it wanted.
 *
 * A value is built by many calls, each of which may leave out what it finds no memory for, and then
 * the whole lacks a member and looks like another.  So it is asked once, when the value is whole.
 */
#pragma once

#include <stdbool.h>

/* As im_memory_lost (base/memory.h).  A program that calls this is linked with json.c, and only
 * then does its jansson allocate by base/memory.h. */
bool im_json_lost(void);
