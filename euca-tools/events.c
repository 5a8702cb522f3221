/* events - objects of JSON, one per line. */

#include <config.h>

#include "events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/text.h"

#include "command.h"
#include "output.h"

static bool printed;

void euca_events_begin(void)
{
    printed = true;
}

bool euca_events(void)
{
    return printed;
}

/* JSON is UTF-8; what is not, in a file's name, becomes '?'. */
static json_t *text_of(const char *text)
{
    char *shown IM_FREE = NULL;
    size_t size;

    if (!text)
        return json_null();
    if (im_text_is_utf8(text, strlen(text)))
        return json_string(text);
    size = strlen(text) + 1;
    shown = malloc(size);
    return shown ? json_string(im_text_printable(shown, size, text)) : NULL;
}

/* Print and free.  An object that memory did not suffice for is left out: the others tell more. */
static void print(json_t *object)
{
    char *text IM_FREE = object ? json_dumps(object, JSON_COMPACT) : NULL;

    if (text)
        printf("%s\n", text);
    (void)fflush(stdout); /* a failure is seen at the end */
    json_decref(object);
}

void euca_event(const char *event, const struct euca_field *fields)
{
    json_t *object;

    if (!printed)
        return;
    object = json_pack("{s:s}", "event", event);
    for (; fields && fields->name; fields++)
        (void)json_object_set_new(object, fields->name,
                                  fields->is_number ? json_integer((json_int_t)fields->number)
                                                    : text_of(fields->text));
    print(object);
}

/* The object that the other output of JSON shows. */
static json_t *task_of(const struct euca_task *task)
{
    char *text IM_FREE = NULL;
    size_t len = 0;
    FILE *file = open_memstream(&text, &len);
    json_t *object = NULL;
    int r;

    if (!file)
        return NULL;
    r = euca_print_task_json(file, task);
    if (fclose(file) == 0 && r == 0)
        object = json_loadb(text, len, 0, NULL);
    return object;
}

void euca_event_task(const struct euca_task *task)
{
    if (printed)
        print(json_pack("{s:s, s:o}", "event", "task", "task", task_of(task)));
}

void euca_event_error(const struct im_error *failure)
{
    char code[64] = "";
    const char *message = failure->message;
    const char *end = strstr(message, "): ");

    /* "(Code): Message" of a server */
    if (strcmp(failure->code, EUCA_SERVER) == 0 && message[0] == '(' && end) {
        (void)snprintf(code, sizeof(code), "%.*s", (int)(end - message - 1), message + 1);
        message = end + strlen("): ");
    } else {
        (void)snprintf(code, sizeof(code), "%s", failure->code);
    }
    euca_event("error", (const struct euca_field[]){ EUCA_TEXT_FIELD("code", code),
                                                     EUCA_TEXT_FIELD("message", message),
                                                     { 0 } });
}
