/* boot-entries - what boot loaders' configurations would start; see boot-entries.h. */

#include <config.h>

#include "stage/boot-entries.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "stage/linux.h"

enum word {
    WORD_OTHER,
    WORD_BEGIN,   /* of an entry: what follows is its title */
    WORD_KERNEL,  /* a path, then the command line */
    WORD_INITRD,  /* paths */
    WORD_OPTIONS, /* the command line, or more of it */
    WORD_BLSCFG,
    WORD_GOES_ON,
};

static enum word meaning(const char *word)
{
    static const struct {
        const char *text;
        enum word word;
    } words[] = {
        { "menuentry", WORD_BEGIN },  { "title", WORD_BEGIN },        { "label", WORD_BEGIN },
        { "linux", WORD_KERNEL },     { "linux16", WORD_KERNEL },     { "linuxefi", WORD_KERNEL },
        { "kernel", WORD_KERNEL },    { "initrd", WORD_INITRD },      { "initrd16", WORD_INITRD },
        { "initrdefi", WORD_INITRD }, { "append", WORD_OPTIONS },     { "options", WORD_OPTIONS },
        { "blscfg", WORD_BLSCFG },    { "configfile", WORD_GOES_ON }, { "source", WORD_GOES_ON },
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcasecmp(words[i].text, word) == 0)
            return words[i].word;
    return WORD_OTHER;
}

/* What stands in quotes, else all of it up to a brace. */
static void take_title(const char *rest, struct boot_entry *entry)
{
    char quote = rest ? *rest : '\0';
    size_t len;

    if (quote != '\'' && quote != '"')
        quote = '{';
    else
        rest++;
    len = rest ? strcspn(rest, (char[]){ quote, '\0' }) : 0;
    (void)snprintf(entry->title, sizeof(entry->title), "%.*s", (int)(len < 95 ? len : 95),
                   rest ? rest : "");
}

/* "(hd0,msdos1)/vmlinuz" and "($root)/vmlinuz" are "/vmlinuz"; quotes go. */
static void take_path(const char *word, char *to, size_t size)
{
    size_t n = 0;

    if (*word == '"' || *word == '\'')
        word++;
    if (*word == '(' && strchr(word, ')'))
        word = strchr(word, ')') + 1;
    for (; *word && *word != '"' && *word != '\'' && n + 1 < size; word++)
        to[n++] = *word;
    to[n] = '\0';
}

/* A variable behind the first one ($tuned_initrd, as Red Hat writes it) is empty unless somebody
 * sets it. */
static void take_initrd(const char *word, struct boot_entry *entry)
{
    if (*word == '$' && entry->initrds > 0)
        return;
    if (entry->initrds < BOOT_INITRDS_MAX)
        take_path(word, entry->initrd[entry->initrds++], sizeof(entry->initrd[0]));
}

/* extlinux names the initramfs on the command line, with commas between several. */
static void take_options(char *rest, struct boot_entry *entry)
{
    char *word;

    while ((word = linux_word(&rest))) {
        if (strncmp(word, "root=", 5) == 0)
            take_path(word + 5, entry->root, sizeof(entry->root));
        else if (strncmp(word, "initrd=", 7) == 0)
            for (char *list = word + 7, *one; (one = strsep(&list, ","));)
                take_initrd(one, entry);
        else if (strstr(word, "$kernelopts") || strstr(word, "${kernelopts}"))
            entry->kernelopts = true;
    }
}

/* The entry that is being read; a kernel without one begins its own. */
static struct boot_entry *current(struct boot_entries *entries, bool begin)
{
    if (begin || entries->count == 0) {
        if (entries->count == BOOT_ENTRIES_MAX)
            return NULL;
        entries->entry[entries->count++] = (struct boot_entry){ 0 };
    }
    return &entries->entry[entries->count - 1];
}

static void parse_line(char *line, struct boot_entries *entries)
{
    char *rest = line;
    char *first = linux_word(&rest);
    enum word word = first ? meaning(first) : WORD_OTHER;
    struct boot_entry *entry;
    char *path;

    if (word == WORD_BLSCFG || word == WORD_GOES_ON) {
        entries->blscfg |= word == WORD_BLSCFG;
        entries->goes_on |= word == WORD_GOES_ON;
        return;
    }
    entry = word == WORD_OTHER ? NULL : current(entries, word == WORD_BEGIN);
    if (!entry)
        return;
    if (word == WORD_BEGIN) {
        take_title(rest ? rest + strspn(rest, " \t") : NULL, entry);
    } else if (word == WORD_KERNEL) {
        path = linux_word(&rest);
        if (path)
            take_path(path, entry->kernel, sizeof(entry->kernel));
        take_options(rest, entry);
    } else if (word == WORD_INITRD) {
        while ((path = linux_word(&rest)))
            take_initrd(path, entry);
    } else {
        take_options(rest, entry);
    }
}

void boot_entries_parse(char *text, struct boot_entries *ret_entries)
{
    char *line;

    *ret_entries = (struct boot_entries){ 0 };
    while (text && (line = linux_line(&text)))
        if (*line != '#' && *line != '\0')
            parse_line(line, ret_entries);
}

bool boot_environment(const char *grubenv, const char *name, char *ret_value, size_t size)
{
    size_t len = strlen(name);

    for (const char *p = grubenv; p && *p; p = strchr(p, '\n')) {
        p += *p == '\n';
        if (strncmp(p, name, len) != 0 || p[len] != '=')
            continue;
        p += len + 1;
        (void)snprintf(ret_value, size, "%.*s", (int)strcspn(p, "\n"), p);
        return *ret_value != '\0';
    }
    return false;
}

void boot_root_of(char *words, char *ret_root, size_t size)
{
    struct boot_entry entry = { 0 };

    take_options(words, &entry);
    (void)snprintf(ret_root, size, "%s", entry.root);
}
