/* settings - the table of all settings of a configuration file.
 *
 * A new setting is a field of struct svc_conf and a row of the table.  Knows no file format. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"

enum svc_setting_type {
    SVC_SETTING_TEXT,   /* char *, NULL when not set */
    SVC_SETTING_NUMBER, /* unsigned or uint64_t */
    SVC_SETTING_WORDS,  /* struct svc_words */
    SVC_SETTING_LISTEN, /* struct svc_listen, its address NULL when not set */
};

struct svc_setting {
    const char *section; /* "" when it stands alone */
    const char *name;    /* a row without one ends the table */
    enum svc_setting_type type;
    size_t offset, size;                  /* of the field in struct svc_conf, or in a row of a
                                             section with titles */
    uint64_t min, max;                    /* of a number; of the number of words */
    bool (*is_allowed)(const char *text); /* a text, or each word */
    const char *allowed;                  /* what that is, for people */
    const char *preset; /* default, as in a file; words separated by ','; NULL: none */
    bool secret;        /* may hold a password: its value is not repeated in messages */
    bool shared;        /* text that services with a database must have; a standalone one derives
                           it from its directory */
};

extern const struct svc_setting svc_settings[];

/* The row of that section and name; NULL when there is none. */
const struct svc_setting *svc_setting_find(const char *section, const char *name);

/* Put values (one, but for words) by the setting into conf, or into a row of svc_settings_row
 * (NULL: conf).  shown is what people call the setting.  0, -EINVAL with the value and what is
 * allowed, -ENOMEM. */
int svc_setting_set(const struct svc_setting *setting, const char *shown, struct svc_conf *conf,
                    void *row, const char *const *values, size_t count, struct im_error *err);

/* Put the defaults of all rows that have one into conf. */
int svc_settings_preset(struct svc_conf *conf, struct im_error *err);

/* True for a section that may stand several times, each with a title: rate "Action". */
bool svc_section_has_titles(const char *section);

/* The row of such a section with that title, made when there is none yet; NULL for other sections.
 * 0; -EINVAL when title is none or there are too many; -ENOMEM. */
int svc_settings_row(struct svc_conf *conf, const char *section, const char *title, void **ret_row,
                     struct im_error *err);

/* Put a copy of value in the place of *text, which may be NULL.  0 or -ENOMEM. */
int svc_conf_replace(char **text, const char *value, struct im_error *err);

/* Say that memory ran out.  -ENOMEM. */
int svc_conf_no_memory(struct im_error *err);

/* Release what the fields of the table own. */
void svc_settings_done(struct svc_conf *conf);
