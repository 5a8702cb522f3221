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
    SVC_TEXT,    /* const char *; NULL when absent */
    SVC_NUMBER,  /* uint64_t; 0 when absent */
    SVC_FLAG,    /* const char *: "true" or "false"; NULL when absent */
    SVC_LIST,    /* struct svc_list: NAME.1, NAME.2 … */
    SVC_STRUCTS, /* struct svc_structs: NAME.1.MEMBER, NAME.2.MEMBER … */
    SVC_TABLE,   /* a structure: the rows of `members`, which stand here in place of this one */
};

struct svc_param {
    const char *name; /* a row without one ends the table */
    size_t offset;    /* of the value in the operation's input, or in its structure */
    bool required;    /* of a list of structures: one at least */
    enum svc_type type;
    /* Of a number; max 0: INT64_MAX.  max of a text, or a list's texts: bytes, 0: SVC_TEXT_MAX; of
     * structures: how many, never 0. */
    uint64_t min, max;
    const char *const *words; /* of a text: the only values, in any case; ends with NULL */
    bool keep_empty;          /* an empty text is a value; else it means that there is none */
    bool old_only;            /* not known to the newest version any more */
    /* of structures: their table, and the bytes of one */
    const struct svc_param *members;
    size_t size;
};

/* A list parameter, in the order of its indexes, which may have gaps. */
struct svc_list {
    size_t count;
    struct svc_item {
        uint64_t index;
        const char *value;
    } * item;
};

/* A list of structures, in the order of its indexes, which may have gaps. */
struct svc_structs {
    size_t count;
    uint64_t *index; /* as the client counted them, for sentences */
    void *item;      /* count structures of the row's size */
};

/* One call. */
struct svc_call {
    const struct svc_api *api;
    struct task_table *tasks;
    const char *account;
    const char *proof, *invocation; /* of the request, see svc_caller */
    bool dry_run;                   /* run will not be called */
    char parameters[65]; /* digest of the parameters when there is a ClientToken among them */
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

/* Refuse for a task that is not there. */
int svc_refuse_unknown_task(struct svc_call *call, const char *id);

/* Refuse the value unless it has the form of a conversion task id, and, in a dry run, is that of a
 * task of the account; 0 when it has. */
int svc_check_task_id(struct svc_call *call, const char *id);

/* Write a task as ConversionTask inside <element>. */
void svc_write_conversion_task(struct svc_xml *xml, const char *element, const struct task *task);

/* Decode params by the operation's table into input (operation->input_size bytes, zeroed), refusing
 * duplicates, missing and unusable values, and, when strict, unknown names.  Texts point into
 * params; svc_params_done releases the lists. */
int svc_params_decode(struct svc_call *call, const struct svc_operation *operation,
                      const struct im_query *params, bool strict, void *input);
void svc_params_done(const struct svc_operation *operation, void *input);
