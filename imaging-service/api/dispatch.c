/* dispatch - from Action to operation, and from its outcome to the document. */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/operation.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "log.h"
#include "metrics.h"

/* From this version on unknown parameters are refused, as AWS does; what older clients send beside
 * the documented names is ignored.  It is also the newest version there is. */
#define STRICT_VERSION "2016-11-15"

/* The first version of the API. */
#define FIRST_VERSION "2006-06-26"

extern const struct svc_operation svc_operation_cancel_conversion_task;
extern const struct svc_operation svc_operation_create_tags;
extern const struct svc_operation svc_operation_delete_tags;
extern const struct svc_operation svc_operation_describe_conversion_tasks;
extern const struct svc_operation svc_operation_import_instance;
extern const struct svc_operation svc_operation_import_volume;

static const struct svc_operation *const operations[] = {
    &svc_operation_cancel_conversion_task,
    &svc_operation_create_tags,
    &svc_operation_delete_tags,
    &svc_operation_describe_conversion_tasks,
    &svc_operation_import_instance,
    &svc_operation_import_volume,
};

#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

int svc_api_throttle(const struct svc_conf *conf, struct svc_throttle **ret_throttle,
                     struct im_error *err)
{
    const char *names[OPERATIONS];

    for (size_t i = 0; i < OPERATIONS; i++)
        names[i] = operations[i]->action;
    return svc_throttle_new(conf, names, OPERATIONS, ret_throttle, err);
}

int svc_refuse(struct svc_call *call, enum svc_code code, const char *format, ...)
{
    va_list args;

    call->code = code;
    call->err.number = EINVAL;
    call->err.code = svc_code_name(code);
    va_start(args, format);
    (void)vsnprintf(call->err.message, sizeof(call->err.message), format, args);
    va_end(args);
    return -EINVAL;
}

int svc_reply_true(struct svc_call *call)
{
    svc_xml_bool(call->xml, "return", true);
    return 0;
}

int svc_refuse_unknown_task(struct svc_call *call, const char *id)
{
    return svc_refuse(call, SVC_UNKNOWN_TASK, "The conversion task ID '%s' is not valid.", id);
}

/* What run would find out. */
static int check_known(struct svc_call *call, const char *id)
{
    struct task task TASK_DONE = { 0 };
    int r = task_get(call->tasks, call->account, id, &task, &call->err);

    return r == -ENOENT ? svc_refuse_unknown_task(call, id) : r;
}

int svc_check_task_id(struct svc_call *call, const char *id)
{
    static const char volume[] = "import-vol-", instance[] = "import-i-";
    const char *rest = NULL;
    size_t len;

    if (strncmp(id, volume, sizeof(volume) - 1) == 0)
        rest = id + sizeof(volume) - 1;
    else if (strncmp(id, instance, sizeof(instance) - 1) == 0)
        rest = id + sizeof(instance) - 1;
    len = rest ? strspn(rest, "0123456789abcdefghijklmnopqrstuvwxyz") : 0;
    if (!rest || rest[len] || (len != 8 && len != 17))
        return svc_refuse(
            call, SVC_MALFORMED_TASK,
            "The conversion task ID '%.100s' is malformed: import-vol- or import-i- and "
            "8 characters of 0-9 and a-z are expected.",
            id);
    return call->dry_run ? check_known(call, id) : 0;
}

/* Every text is to come back in an answer one day; what XML cannot hold is refused at the door. */
static int check_characters(struct svc_call *call, const struct im_query *params)
{
    for (size_t i = 0; i < params->count; i++) {
        const char *name = params->param[i].name, *value = params->param[i].value;
        char shown[100];

        if (!im_text_is_xml(name, strlen(name)) || !im_text_is_xml(value, strlen(value)))
            return svc_refuse(call, SVC_INVALID_CHARACTER,
                              "The parameter %s holds a control character, which is not allowed",
                              im_text_printable(shown, sizeof(shown), name));
    }
    return 0;
}

static bool is_date(const char *text)
{
    static const char form[] = "dddd-dd-dd";

    if (strlen(text) != sizeof(form) - 1)
        return false;
    for (size_t i = 0; form[i]; i++)
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return false;
    return true;
}

static int check_version(struct svc_call *call, const char *version)
{
    if (!version || !*version)
        return svc_refuse(call, SVC_MISSING_PARAMETER,
                          "The request must contain the parameter Version");
    if (!is_date(version) || strcmp(version, FIRST_VERSION) < 0 ||
        strcmp(version, STRICT_VERSION) > 0)
        return svc_refuse(call, SVC_NO_SUCH_VERSION,
                          "The requested version (%.40s) is not supported; " STRICT_VERSION
                          " is the newest one.",
                          version);
    return 0;
}

static int find_operation(struct svc_call *call, const char *action,
                          const struct svc_operation **ret_operation)
{
    if (!action || !*action)
        return svc_refuse(call, SVC_MISSING_ACTION, "%s", svc_code_text(SVC_MISSING_ACTION));
    for (size_t i = 0; i < OPERATIONS; i++)
        if (strcmp(operations[i]->action, action) == 0) {
            *ret_operation = operations[i];
            return 0;
        }
    return svc_refuse(call, SVC_INVALID_ACTION,
                      "The action %.100s is not valid for this web service.", action);
}

/* Whoever calls too often is told so before any work is done for him; actions that do not exist
 * share one account's allowance. */
static int check_rate(struct svc_call *call, const struct svc_operation *operation)
{
    size_t action = 0;

    while (action < OPERATIONS && operations[action] != operation)
        action++;
    if (svc_throttle_take(call->api->throttle, call->account, action, im_clock_monotonic_ms()))
        return 0;
    metric_add(METRIC_THROTTLED, operation ? operation->action : NULL, NULL, 1);
    return svc_refuse(call, SVC_THROTTLED, "%s", svc_code_text(SVC_THROTTLED));
}

static int read_dry_run(struct svc_call *call, const struct im_query *params)
{
    const char *value = im_query_get(params, "DryRun");

    if (!value || !*value || strcasecmp(value, "false") == 0 || strcmp(value, "0") == 0)
        call->dry_run = false;
    else if (strcasecmp(value, "true") == 0 || strcmp(value, "1") == 0)
        call->dry_run = true;
    else
        return svc_refuse(
            call, SVC_INVALID_VALUE,
            "Value (%.40s) for parameter DryRun is invalid. It must be true or false.", value);
    return 0;
}

/* Run the operation between the root element and its end. */
static int reply(struct svc_call *call, const struct svc_operation *operation, const char *version,
                 const char *request_id, const void *input, struct im_buffer *out)
{
    char root[64], xmlns[64];
    int r, ended;

    (void)snprintf(root, sizeof(root), "%sResponse", operation->action);
    (void)snprintf(xmlns, sizeof(xmlns), "http://ec2.amazonaws.com/doc/%s/", version);
    call->xml = svc_xml_new(out);
    if (!call->xml)
        return im_fail(&call->err, ENOMEM, "out of memory");
    svc_xml_open(call->xml, root, xmlns);
    svc_xml_text(call->xml, "requestId", request_id);
    r = operation->run(call, input);
    svc_xml_close(call->xml);
    ended = svc_xml_end(im_steal(call->xml));
    if (r == 0 && ended < 0)
        r = im_fail_errno(&call->err, -ended, "the answer to %s cannot be written",
                          operation->action);
    return r;
}

static int operate(struct svc_call *call, const struct svc_operation *operation,
                   const struct im_query *params, const char *version, const char *request_id,
                   struct im_buffer *out)
{
    void *input IM_FREE = calloc(1, operation->input_size);
    int r;

    if (!input)
        return im_fail(&call->err, ENOMEM, "out of memory");
    r = svc_params_decode(call, operation, params, strcmp(version, STRICT_VERSION) >= 0, input);
    if (r == 0)
        r = read_dry_run(call, params);
    if (r == 0 && operation->check)
        r = operation->check(call, input);
    if (r == 0 && call->dry_run)
        r = svc_refuse(call, SVC_DRY_RUN, "%s", svc_code_text(SVC_DRY_RUN));
    if (r == 0)
        r = reply(call, operation, version, request_id, input, out);
    svc_params_done(operation, input);
    return r;
}

void svc_api_refuse(enum svc_code code, const char *message, const char *request_id,
                    struct svc_answer *answer)
{
    struct svc_xml *xml;

    im_buffer_clear(answer->body);
    answer->status = svc_code_status(code);
    xml = svc_xml_new(answer->body);
    if (!xml)
        return;
    svc_xml_open(xml, "Response", NULL);
    svc_xml_open(xml, "Errors", NULL);
    svc_xml_open(xml, "Error", NULL);
    svc_xml_text(xml, "Code", svc_code_name(code));
    svc_xml_text(xml, "Message", message ? message : svc_code_text(code));
    svc_xml_close(xml);
    svc_xml_close(xml);
    svc_xml_text(xml, "RequestID", request_id);
    svc_xml_close(xml);
    (void)svc_xml_end(xml);
}

const char *svc_api_action(size_t n)
{
    return n < sizeof(operations) / sizeof(operations[0]) ? operations[n]->action : NULL;
}

const char *svc_api_known(const char *name)
{
    for (size_t i = 0; name && i < OPERATIONS; i++)
        if (strcmp(operations[i]->action, name) == 0)
            return operations[i]->action;
    return NULL;
}

void svc_api_run(const struct svc_api *api, const struct svc_caller *caller, const char *request_id,
                 const struct im_query *params, struct svc_answer *answer)
{
    struct svc_call call = { .api = api,
                             .tasks = api->tasks,
                             .account = caller->account,
                             .proof = caller->proof,
                             .invocation = caller->invocation };
    const char *version = im_query_get(params, "Version");
    const struct svc_operation *operation = NULL;
    bool ours;
    int r = check_characters(&call, params);

    if (r == 0)
        r = find_operation(&call, im_query_get(params, "Action"), &operation);
    if (check_rate(&call, operation) < 0)
        r = -EINVAL;
    if (r == 0)
        r = check_version(&call, version);
    if (r == 0 && !svc_caller_may(caller, operation->action))
        r = svc_refuse(&call, SVC_UNAUTHORIZED, "%s", svc_code_text(SVC_UNAUTHORIZED));
    if (r == 0)
        r = operate(&call, operation, params, version, request_id, answer->body);
    if (r == 0) {
        answer->status = 200;
        return;
    }
    ours = call.code == SVC_INTERNAL_ERROR; /* nobody has refused it */
    if (ours) {
        call.code = svc_code_of_failure(r);
        svc_log(SVC_ERROR, "%s, request %s: %s", operation ? operation->action : "?", request_id,
                call.err.message);
    }
    svc_api_refuse(call.code, ours ? NULL : call.err.message, request_id, answer);
}
