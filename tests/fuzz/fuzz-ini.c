/* fuzz-ini - the clients' reader of INI files, and what looks options up in them.
 *
 * An input is the text of a file, taken for one of euca2ools' and for AWS's.  A finding is a report
 * of a sanitizer, a text that says something else when it is read twice, a section that is not
 * found by its name, or a refusal without a sentence.
 *
 * A program of its own beside those of fuzz-image.h; without libFuzzer main is fuzz-bytes.c's. */

#include <config.h>

#include "fuzz/fuzz-bytes.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#include "configuration.h"
#include "lookup.h"
#include "profile.h"

/* Names and options to look up: each may try many patterns against all sections. */
#define ASKED_MAX 16

static void look_up(const struct euca_ini *ini, const char *kind, const char *name,
                    const struct euca_ini_section *section)
{
    for (size_t i = 0; i < section->count && i < ASKED_MAX; i++) {
        const char *option = section->option[i].name;
        struct euca_setting setting = { 0 };
        struct im_error err = { 0 };

        if (!section->option[i].value)
            fault("an option has no value");
        if (euca_look_up(ini, kind, name, option, &setting, &err) < 0) {
            if (!*err.message)
                fault("refused without a sentence");
        } else if (setting.value && euca_name_fault(setting.section)) {
            fault("found in a section that cannot be");
        }
    }
}

/* As one of euca2ools' files. */
static void ask_regions(const struct euca_ini *ini)
{
    static const char *const kinds[] = { "region", "user" };
    const struct euca_configuration conf = { .ini = *ini };
    unsigned asked = 0;

    for (size_t i = 0; i < ini->count; i++)
        for (size_t k = 0; k < 2 && asked < ASKED_MAX; k++) {
            const char *name = euca_section_name(&ini->section[i], kinds[k]);
            const char *colon = name ? strchr(name, ':') : NULL;
            char *signing IM_FREE = NULL;

            if (!name)
                continue;
            if (!euca_is_known(ini, kinds[k], name))
                fault("a section is not known");
            look_up(ini, kinds[k], name, &ini->section[i]);
            if (colon)
                look_up(ini, kinds[k], colon + 1, &ini->section[i]);
            (void)euca_configuration_signing_name(&conf, name, &signing, NULL);
            asked++;
        }
}

/* As both of AWS's. */
static void ask_profile(const struct euca_ini *ini)
{
    struct euca_profile profile = {
        .credentials = *ini, .config = *ini, .name = "default", .is_read = true
    };
    const char *id, *secret, *token;
    char *url IM_FREE = NULL;
    struct im_error err = { 0 };

    if (euca_profile_keys(&profile, &id, &secret, &token, &err) < 0 && !*err.message)
        fault("refused without a sentence");
    (void)euca_profile_url(&profile, "ec2", &url, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct euca_ini ini IM_CLEANUP(euca_ini_done) = { 0 };
    struct im_error err = { 0 };
    size_t sections;
    int r = euca_ini_parse(&ini, "input", (const char *)data, len, &err);

    if (r < 0 && !*err.message)
        fault("refused without a sentence");
    sections = ini.count;
    if (euca_ini_parse(&ini, "input", (const char *)data, len, &err) != r || ini.count != sections)
        fault("the second time it says something else");
    for (size_t i = 0; i < ini.count && i < ASKED_MAX; i++)
        if (euca_ini_find(&ini, ini.section[i].name) != &ini.section[i])
            fault("two sections have one name");
    if (euca_check_sections(&ini, "input", &err) == 0)
        ask_regions(&ini);
    ask_profile(&ini);
    return 0;
}
