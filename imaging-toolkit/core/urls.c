/* urls - a policy from JSON. */

#include <config.h>

#include "core/urls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"

struct im_url_policy im_urls;

static int no_memory(struct im_error *err)
{
    return im_fail(err, ENOMEM, "out of memory");
}

static int get_own(const json_t *value, struct im_error *err)
{
    struct im_url split;
    const char *own = json_string_value(value);

    if (!own || im_url_split(own, &split, NULL) < 0)
        return im_fail(err, EINVAL, "job: \"urls.own\" must be an http or https URL");
    im_urls.own = strdup(own);
    return im_urls.own ? 0 : no_memory(err);
}

static bool is_text(const char *text)
{
    return *text != '\0';
}

static int get_list(const json_t *value, const char *name, bool (*is_allowed)(const char *text),
                    struct im_url_list *list, struct im_error *err)
{
    size_t count = json_array_size(value);
    char shown[64];

    if (!json_is_array(value) || count > IM_URL_LIST_MAX)
        return im_fail(err, EINVAL, "job: \"urls.%s\" must be a list of at most %d", name,
                       IM_URL_LIST_MAX);
    list->item = calloc(count + 1, sizeof(*list->item));
    for (size_t i = 0; i < count && list->item; i++) {
        const char *text = json_string_value(json_array_get(value, i));

        if (!text || !is_allowed(text))
            return im_fail(err, EINVAL, "job: \"urls.%s\" has an entry '%s'", name,
                           im_text_printable(shown, sizeof(shown), text ? text : "not a string"));
        list->item[i] = strdup(text);
        if (!list->item[i])
            return no_memory(err);
        list->count++;
    }
    return list->item ? 0 : no_memory(err);
}

int im_urls_parse(const json_t *value, struct im_error *err)
{
    const char *name;
    json_t *member;
    int r = 0;

    if (!json_is_object(value))
        return im_fail(err, EINVAL, "job: \"urls\" must be an object");
    im_urls.strict = true;
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        if (strcmp(name, "schemes") == 0)
            r = get_list(member, name, is_text, &im_urls.schemes, err);
        else if (strcmp(name, "hosts") == 0)
            r = get_list(member, name, is_text, &im_urls.hosts, err);
        else if (strcmp(name, "networks") == 0)
            r = get_list(member, name, im_url_is_network, &im_urls.networks, err);
        else if (strcmp(name, "own") == 0)
            r = get_own(member, err);
        else
            r = im_fail(err, EINVAL, "job: \"urls.%s\" is not known", name);
        if (r < 0)
            return r;
    }
    return 0;
}
