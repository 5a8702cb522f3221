/* events - what happens, as JSON Lines on standard output: what --json asks for in place of text.
 *
 * One object per line, "event" says of which kind; each line is out at once. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#include "reply.h"

/* From now on events are printed; before, and without this, they are not. */
void euca_events_begin(void);

/* Are events printed? */
bool euca_events(void);

/* A member of an event's object: a text or a number. */
struct euca_field {
    const char *name; /* NULL ends a list */
    const char *text; /* bytes that are not UTF-8 are replaced; NULL in EUCA_TEXT_FIELD: null */
    uint64_t number;
    bool is_number;
};
#define EUCA_TEXT_FIELD(field_name, value)                                                         \
    {                                                                                              \
        .name = (field_name), .text = (value)                                                      \
    }
#define EUCA_NUMBER_FIELD(field_name, value)                                                       \
    {                                                                                              \
        .name = (field_name), .number = (value), .is_number = true                                 \
    }

/* Print {"event": NAME, …}.  Nothing when events are not printed. */
void euca_event(const char *event, const struct euca_field *fields);

/* Print {"event": "task", "task": …}. */
void euca_event_task(const struct euca_task *task);

/* Print {"event": "error", "code": …, "message": …}; a server's code where it told one. */
void euca_event_error(const struct im_error *failure);
