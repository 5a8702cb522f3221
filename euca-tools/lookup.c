/* lookup - where an option of a region or user is found.
 *
 * The order of a search is that of the historical clients, with two traps taken out: a circle of
 * `use` is refused, and the end of a name that fits several sections is no fault where a section
 * has that very name. */

#include <config.h>

#include "lookup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"

/* Ceilings: words between the colons of a name, each of which doubles the patterns to try; jumps by
 * `use` and by the end of a name. */
#define WORDS_MAX 6
#define JUMPS_MAX 10

/* Bytes of a list of candidates: what fits into a sentence. */
#define LIST_BYTES 256

struct search {
    const struct euca_ini *ini;
    const char *kind;
    const char *option;
    unsigned jumps;
};

const char *euca_section_name(const struct euca_ini_section *section, const char *kind)
{
    size_t len = strlen(kind);

    return strncmp(section->name, kind, len) == 0 && section->name[len] == ' '
               ? section->name + len + 1
               : NULL;
}

const struct euca_ini_section *euca_find_section(const struct euca_ini *ini, const char *kind,
                                                 const char *name)
{
    for (size_t i = 0; i < ini->count; i++) {
        const char *its = euca_section_name(&ini->section[i], kind);

        if (its && strcmp(its, name) == 0)
            return &ini->section[i];
    }
    return NULL;
}

static unsigned words_of(const char *name)
{
    unsigned words = 1;

    for (; *name; name++)
        words += *name == ':';
    return words;
}

const char *euca_name_fault(const char *name)
{
    size_t len = strlen(name);

    if (strchr(name, '@'))
        return "no name has an '@', which separates user and region";
    if (len == 0 || name[0] == ':' || name[len - 1] == ':' || strstr(name, "::"))
        return "there must be a word before and behind each colon";
    if (strchr(name, ' '))
        return "no name has a blank";
    if (len > EUCA_NAME_MAX || words_of(name) > WORDS_MAX)
        return "the name is too long";
    return NULL;
}

int euca_check_sections(const struct euca_ini *ini, const char *file, struct im_error *err)
{
    static const char *const kinds[] = { "region", "user" };

    for (size_t i = 0; i < ini->count; i++) {
        const char *fault = NULL;

        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            const char *name = euca_section_name(&ini->section[i], kinds[k]);

            if (name)
                fault = euca_name_fault(name);
            else if (strcmp(ini->section[i].name, kinds[k]) == 0)
                fault = "it has no name";
        }
        if (fault)
            return im_fail(err, EINVAL, "%s: section [%s]: %s", file, ini->section[i].name, fault);
    }
    return 0;
}

/* The name with '*' for those of its words whose bit is set; the last word has the lowest bit. */
static void make_pattern(const char *name, unsigned stars, char *pattern)
{
    for (unsigned word = words_of(name); word-- > 0; pattern++) {
        size_t len = strcspn(name, ":");

        if (stars >> word & 1) {
            *pattern++ = '*';
        } else {
            memcpy(pattern, name, len);
            pattern += len;
        }
        *pattern = word > 0 ? ':' : '\0';
        name += len + (word > 0);
    }
}

/* The section of that very name, or one with '*' for some of its words: first those that keep its
 * first words.  "*" alone is for the end.  Only sections that have the option, unless it is NULL.
 */
static const struct euca_ini_section *by_pattern(const struct euca_ini *ini, const char *kind,
                                                 const char *name, const char *option)
{
    unsigned words = words_of(name);
    unsigned patterns = words == 1 ? 1 : 1u << words;

    for (unsigned stars = 0; stars < patterns; stars++) {
        char pattern[EUCA_NAME_MAX + 1];
        const struct euca_ini_section *section;

        make_pattern(name, stars, pattern);
        section = euca_find_section(ini, kind, pattern);
        if (section && (!option || euca_ini_value(section, option)))
            return section;
    }
    return NULL;
}

/* Does the section's name end in ":name"? */
static bool ends_in(const char *section, const char *name)
{
    size_t len = strlen(section), tail = strlen(name);

    return len > tail && section[len - tail - 1] == ':' && strcmp(section + len - tail, name) == 0;
}

/* How many sections end in the name, of those with the fewest words; the first of them, and all as
 * a list. */
static unsigned by_end(const struct euca_ini *ini, const char *kind, const char *name,
                       const char **ret_section, struct im_buffer *list)
{
    unsigned best = WORDS_MAX, count = 0;

    for (size_t i = 0; i < ini->count; i++) {
        const char *its = euca_section_name(&ini->section[i], kind);
        unsigned words = its && ends_in(its, name) ? words_of(its) : WORDS_MAX + 1;

        if (words > best)
            continue;
        if (words < best) {
            best = words;
            count = 0;
            im_buffer_clear(list);
        }
        if (count++ == 0)
            *ret_section = its;
        (void)im_buffer_printf(list, "%s%s", count > 1 ? ", " : "", its);
    }
    return count;
}

bool euca_is_known(const struct euca_ini *ini, const char *kind, const char *name)
{
    struct im_buffer list IM_BUFFER_DONE = IM_BUFFER(LIST_BYTES);
    const char *section;

    return !euca_name_fault(name) &&
           (by_pattern(ini, kind, name, NULL) || by_end(ini, kind, name, &section, &list) > 0);
}

static int look_up(struct search *search, const char *name, struct euca_setting *ret_setting,
                   struct im_error *err);

/* Go on with another section. */
static int jump(struct search *search, const char *name, struct euca_setting *ret_setting,
                struct im_error *err)
{
    if (++search->jumps > JUMPS_MAX)
        return im_fail(err, EINVAL, "%s '%s': %s is sent on by 'use' more than %d times: a circle?",
                       search->kind, name, search->option, JUMPS_MAX);
    return look_up(search, name, ret_setting, err);
}

/* "use SECTION [OPTION]" */
static int follow(struct search *search, const char *from, const char *value,
                  struct euca_setting *ret_setting, struct im_error *err)
{
    static const char blanks[] = " \t\n";
    char *words IM_FREE = strdup(value + strlen("use "));
    const char *asked = search->option;
    const char *name, *option;
    char *rest = words;
    int r;

    if (!words)
        return im_fail_memory(err);
    name = strtok_r(words, blanks, &rest);
    option = strtok_r(NULL, blanks, &rest);
    search->option = option ? option : asked;
    r = name && !euca_name_fault(name) ? jump(search, name, ret_setting, err) : 0;
    search->option = asked;
    if (r == 0 && !ret_setting->value && (!name || !euca_is_known(search->ini, search->kind, name)))
        return im_fail(err, EINVAL, "%s '%s': %s = %s leads nowhere: there is no such section",
                       search->kind, from, asked, value);
    return r;
}

static int found(struct search *search, const char *name, const struct euca_ini_section *section,
                 struct euca_setting *ret_setting, struct im_error *err)
{
    const char *value = euca_ini_value(section, search->option);

    if (!value)
        return 0;
    if (strncmp(value, "use ", strlen("use ")) == 0)
        return follow(search, name, value, ret_setting, err);
    ret_setting->value = value;
    (void)snprintf(ret_setting->section, sizeof(ret_setting->section), "%s", name);
    return 0;
}

static int look_up(struct search *search, const char *name, struct euca_setting *ret_setting,
                   struct im_error *err)
{
    struct im_buffer list IM_BUFFER_DONE = IM_BUFFER(LIST_BYTES);
    const struct euca_ini_section *section =
        by_pattern(search->ini, search->kind, name, search->option);
    const char *longer = NULL;
    unsigned ends;

    if (section)
        return found(search, name, section, ret_setting, err);
    ends = by_end(search->ini, search->kind, name, &longer, &list);
    if (ends == 1)
        return jump(search, longer, ret_setting, err);
    if (ends > 1 && !euca_find_section(search->ini, search->kind, name))
        return im_fail(err, EINVAL, "%s '%s' is ambiguous; closest matches are %s", search->kind,
                       name, list.data);
    section = euca_find_section(search->ini, search->kind, "*");
    return section ? found(search, name, section, ret_setting, err) : 0;
}

int euca_look_up(const struct euca_ini *ini, const char *kind, const char *name, const char *option,
                 struct euca_setting *ret_setting, struct im_error *err)
{
    struct search search = { .ini = ini, .kind = kind, .option = option };
    struct euca_setting setting = { 0 };
    int r = 0;

    if (name && !euca_name_fault(name))
        r = look_up(&search, name, &setting, err);
    if (r == 0)
        *ret_setting = setting;
    return r;
}
