/* operation - what an API operation is made of.
 *
 * An operation is one file that ends in a struct svc_operation, and one row in dispatch.c.  Its
 * parameters are decoded into its input by the table, so that check and run see values that are
 * present, in range and valid XML text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/api.h"
#include "api/errors.h"
#include "xml.h"
#include "base/clock.h"
#include "base/error.h"
#include "task/task.h"

/* Bytes of a text parameter that sets no limit of its own: ids, names, short remarks. */
#define SVC_TEXT_MAX 1024

enum svc_type {
    SVC_TEXT,   /* const char *; NULL when absent */
    SVC_NUMBER, /* uint64_t; 0 when absent */
    SVC_LIST,   /* struct svc_list: NAME.1, NAME.2 … */
};

struct svc_param {
    const char *name; /* a row without one ends the table */
    size_t offset;    /* of the value in the operation's input */
    bool required;
    enum svc_type type;
    uint64_t min, max; /* of a number; max 0: INT64_MAX.  max of a text: bytes, 0: SVC_TEXT_MAX */
};

/* A list parameter, in the order of its indexes, which may have gaps. */
struct svc_list {
    size_t count;
    struct svc_item {
        uint64_t index;
        const char *value;
    } * item;
};

/* One call. */
struct svc_call {
    const struct svc_api *api;
    struct task_table *tasks;
    const char *account;
    struct svc_xml *xml; /* the reply, inside its root element */
    enum svc_code code;  /* of a refusal */
    struct im_error err; /* its sentence, or of a failure of ours */
};

struct svc_operation {
    const char *action;
    const struct svc_param *params;
    size_t input_size;
    /* Refuse what the table cannot see; changes nothing.  DryRun stops after it.  May be NULL. */
    int (*check)(struct svc_call *call, const void *input);
    /* Do it and write the reply's elements to call->xml.  Both return 0, what svc_refuse returned,
     * or -errno with call->err for a failure of ours (the client then sees InternalError). */
    int (*run)(struct svc_call *call, const void *input);
};

/* Refuse the call with a code and a sentence for the client; returns a negative number. */
int svc_refuse(struct svc_call *call, enum svc_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Write <return>true</return>; returns 0. */
int svc_reply_true(struct svc_call *call);

/* Refuse the value unless it has the form of a conversion task id; 0 when it has. */
int svc_check_task_id(struct svc_call *call, const char *id);

/* Refuse a zone that the service does not have, naming those it has; 0 when it has it. */
int svc_check_zone(struct svc_call *call, const char *zone);

/* Write a task as ConversionTask inside <element>. */
void svc_write_conversion_task(struct svc_xml *xml, const char *element, const struct task *task);

/* Decode params by the operation's table into input (operation->input_size bytes, zeroed), refusing
 * duplicates, missing and unusable values, and, when strict, unknown names.  Texts point into
 * params; svc_params_done releases the lists. */
int svc_params_decode(struct svc_call *call, const struct svc_operation *operation,
                      const struct im_query *params, bool strict, void *input);
void svc_params_done(const struct svc_operation *operation, void *input);
