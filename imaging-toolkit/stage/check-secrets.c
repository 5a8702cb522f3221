/* check-secrets - is something on the disk that must not be the same on every machine made from it:
 * private keys, credentials, histories, users without a password?
 *
 * Files are named; what they hold is never shown. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/cancel.h"
#include "guest/as-file.h"
#include "guest/guest.h"
#include "stage/accounts.h"
#include "stage/linux.h"

#define REMOVE_HOST "remove them: they are made again at the next start"
#define REMOVE      "remove it before the disk is copied"
#define SET_LOCKED  "lock it: passwd -l"

/* How much is looked at: directories deep, entries in all, bytes of one file and of all. */
#define DEPTH_MAX        5u
#define ENTRIES_MAX      8192u
#define ENTRIES_SLOW_MAX 256u
#define FILE_MAX         (32u * 1024)
#define BYTES_MAX        (16u << 20)
/* Files of one kind that are named. */
#define NAMED_MAX 8u

enum kind { HOST_KEY, PRIVATE_KEY, CREDENTIALS, HISTORY, KINDS };

static const struct {
    const char *what;
    const char *cure;
} kinds[KINDS] = {
    [HOST_KEY] = { "is an SSH host key: every machine made from the disk would be the same one",
                   REMOVE_HOST },
    [PRIVATE_KEY] = { "is a private key", REMOVE },
    [CREDENTIALS] = { "holds credentials", REMOVE },
    [HISTORY] = { "is a history of commands, which may hold passwords", REMOVE },
};

struct search {
    struct im_look *look;
    struct im_guest *guest;
    const char *const *tops;
    unsigned most;         /* entries to look at */
    unsigned entries;      /* seen so far */
    uint64_t bytes;        /* read so far */
    unsigned found[KINDS]; /* of them NAMED_MAX were told */
    bool all;              /* the whole of what was to be looked at was */
};

static bool is_one_of(const char *name, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

static bool has_end(const char *name, const char *end)
{
    size_t len = strlen(name), n = strlen(end);

    return len >= n && strcmp(name + len - n, end) == 0;
}

static void tell(struct search *search, enum kind kind, const char *path)
{
    if (search->found[kind]++ < NAMED_MAX)
        im_report_warning(search->look->report, kinds[kind].cure, "%s %s", path, kinds[kind].what);
}

/* Names that say it all, when there is something in the file. */
static bool judge_name(struct search *search, const char *path, const char *name)
{
    static const char *const histories[] = { ".bash_history",   ".zsh_history",   ".ash_history",
                                             ".sh_history",     ".mysql_history", ".psql_history",
                                             ".python_history", ".history",       NULL };
    static const char *const credentials[] = { ".netrc",     ".s3cfg",           ".boto",
                                               ".pgpass",    ".git-credentials", ".my.cnf",
                                               ".dockercfg", ".vault-token",     NULL };

    if (is_one_of(name, histories))
        tell(search, HISTORY, path);
    else if (is_one_of(name, credentials) || has_end(path, "/.aws/credentials") ||
             has_end(path, "/.docker/config.json") || has_end(path, "/.kube/config") ||
             has_end(path, "/.config/gcloud/credentials.db"))
        tell(search, CREDENTIALS, path);
    else
        return false;
    return true;
}

static bool is_key(const struct im_buffer *text)
{
    static const char *const begins[] = { "PRIVATE KEY-----", "PRIVATE KEY BLOCK-----",
                                          "PuTTY-User-Key-File-" };

    for (size_t i = 0; text->data && i < sizeof(begins) / sizeof(begins[0]); i++)
        if (memmem(text->data, text->len, begins[i], strlen(begins[i])))
            return true;
    return false;
}

static int judge_file(struct search *search, const char *path, const char *name,
                      const struct im_file *file, struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(FILE_MAX);
    int r;

    if (file->size == 0 || judge_name(search, path, name) || file->size > FILE_MAX)
        return 0;
    search->bytes += file->size;
    if (search->bytes > BYTES_MAX) {
        search->all = false;
        return 0;
    }
    r = linux_bytes(search->guest, path, &text, err);
    if (r == LINUX_FOUND && is_key(&text))
        tell(search,
             strncmp(name, "ssh_host_", 9) == 0 && has_end(name, "_key") ? HOST_KEY : PRIVATE_KEY,
             path);
    return r < 0 ? r : 0;
}

static int search_dir(struct search *search, const char *dir, unsigned depth, struct im_error *err);

static int search_entry(struct search *search, const char *dir, const char *name, unsigned depth,
                        struct im_error *err)
{
    struct im_file file = { 0 };
    char path[512];
    int r = im_cancel_check(err);

    if (r < 0)
        return r;
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path) ||
        search->entries++ >= search->most) {
        search->all = false;
        return 0;
    }
    r = linux_stat(search->guest, path, &file, err);
    if (r != LINUX_FOUND)
        return r < 0 ? r : 0;
    if (file.kind == IM_FILE_REGULAR)
        return judge_file(search, path, name, &file, err);
    return file.kind == IM_FILE_DIRECTORY ? search_dir(search, path, depth + 1, err) : 0;
}

/* What is deeper, or behind a link to a directory, has been seen or belongs to packages. */
static int search_dir(struct search *search, const char *dir, unsigned depth, struct im_error *err)
{
    struct linux_names names LINUX_NAMES_DONE = { 0 };
    int r;

    if (depth > DEPTH_MAX) {
        search->all = false;
        return 0;
    }
    r = linux_list(search->look, search->guest, dir, &names, err);
    if (r != LINUX_FOUND)
        return r < 0 ? r : 0;
    r = 0;
    for (size_t i = 0; r == 0 && i < names.count && search->entries <= search->most; i++)
        r = search_entry(search, dir, names.name[i], depth, err);
    return r;
}

static int judge_users(struct search *search, struct im_error *err)
{
    struct accounts *accounts IM_FREE = malloc(sizeof(*accounts));
    unsigned told = 0;
    int r;

    if (!accounts)
        return im_fail(err, ENOMEM, "out of memory");
    r = accounts_read(search->look, search->guest, accounts, err);
    for (unsigned i = 0; r == LINUX_FOUND && i < accounts->count; i++)
        if (accounts->account[i].password == ACCOUNT_EMPTY && told++ < NAMED_MAX)
            im_report_fault(search->look->report, "EmptyPassword", NULL, SET_LOCKED,
                            "The user %s has an empty password: anybody can log in",
                            accounts->account[i].name);
    return r < 0 ? r : 0;
}

static void conclude(struct search *search)
{
    struct im_report *report = search->look->report;
    unsigned found = 0;

    for (size_t i = 0; i < KINDS; i++) {
        found += search->found[i];
        if (search->found[i] > NAMED_MAX)
            im_report_warning(report, kinds[i].cure, "%u more files: each %s",
                              search->found[i] - NAMED_MAX, kinds[i].what);
    }
    if (!search->all)
        im_report_unknown(report,
                          "only the first %u files and directories, %u deep, were looked "
                          "at",
                          search->entries, DEPTH_MAX);
    if (found == 0)
        im_report_okay(report,
                       "no private key, credentials or history in %u files and directories "
                       "of /root, /home and %s",
                       search->entries, search->most == ENTRIES_MAX ? "/etc" : "/etc/ssh");
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    /* Every file of other file systems than ext costs a program that is run. */
    static const char *const all[] = { "/root", "/home", "/etc", NULL };
    static const char *const few[] = {
        "/root", "/home", "/etc/ssh", "/etc/ssl/private", "/etc/pki/tls/private", NULL
    };
    struct search search = { .look = look, .all = true };
    int r = linux_of(look, &search.guest, err);
    bool fast;

    (void)args;
    if (r <= 0)
        return r;
    fast = strncmp(search.guest->root->type, "ext", 3) == 0;
    search.most = fast ? ENTRIES_MAX : ENTRIES_SLOW_MAX;
    search.tops = fast ? all : few;
    r = judge_users(&search, err);
    for (size_t i = 0; r == 0 && search.tops[i]; i++)
        r = search_dir(&search, search.tops[i], 0, err);
    if (r == 0)
        conclude(&search);
    return r;
}

const struct im_stage im_stage_check_secrets = {
    .name = "check-secrets",
    .summary = "no private keys, credentials, histories or empty passwords are on the disk",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .optional = true,
    .required_capacity = im_look_capacity,
    .uses = im_guest_uses,
    .look = look,
};
