/* message - one HTTP request and its answer. */

#include <config.h>

#include "http/message.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

const char *svc_request_header(const struct svc_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->header[i].name, name) == 0)
            return request->header[i].value;
    return NULL;
}

struct im_signable svc_request_signable(const struct svc_request *request)
{
    return (struct im_signable){
        .method = request->method,
        .path = request->path,
        .query = request->query,
        .headers = request->header,
        .header_count = request->header_count,
    };
}

void svc_response_field(struct svc_response *response, const char *name, const char *format, ...)
{
    struct svc_field *field = &response->field[response->field_count];
    va_list args;
    int n;

    if (response->field_count == SVC_FIELDS_MAX)
        return;
    field->name = name;
    va_start(args, format);
    n = vsnprintf(field->value, sizeof(field->value), format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof(field->value))
        response->field_count++;
}

void svc_response_reset(struct svc_response *response)
{
    if (response->fd >= 0)
        (void)close(response->fd);
    response->fd = -1;
    response->status = 0;
    response->content_type = NULL;
    response->field_count = 0;
    im_buffer_clear(&response->body);
}

void svc_response_done(struct svc_response *response)
{
    svc_response_reset(response);
    im_buffer_done(&response->body);
}
