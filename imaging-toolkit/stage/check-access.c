/* check-access - could anybody log in, once the machine runs: by keys that cloud-init fetches, by
 * keys or passwords that are on the disk? */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "guest/as-file.h"
#include "guest/guest.h"
#include "stage/accounts.h"
#include "stage/linux.h"

#define LET_IN      "install cloud-init, or put a public key into a user's .ssh/authorized_keys"
#define INSTALL_SSH "install openssh-server"

#define KEYS_MAX (64u * 1024)
/* Homes that are looked into, and users that are named. */
#define HOMES_MAX 64u
#define NAMED_MAX 8u

struct ways {
    unsigned keys, passwords; /* users */
    char key_of[64];          /* the first */
    char password_of[160];    /* some, with blanks between */
    bool unread;              /* there may be more of them in what could not be read */
};

/* Has the text a line that is a key? */
static bool has_key(char *text)
{
    char *line;

    while (text && (line = linux_line(&text)))
        if (*line != '#' && (strstr(line, "ssh-") || strstr(line, "ecdsa-") || strstr(line, "sk-")))
            return true;
    return false;
}

static int take_keys(struct im_look *look, struct im_guest *guest, const struct account *account,
                     struct ways *ways, struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(KEYS_MAX);
    char path[256];
    int r;

    (void)snprintf(path, sizeof(path), "%s/.ssh/authorized_keys",
                   strcmp(account->home, "/") == 0 ? "" : account->home);
    r = *path == '/' ? linux_text(look, guest, path, &text, err) : LINUX_ABSENT;
    ways->unread |= r == LINUX_UNREADABLE;
    if (r != LINUX_FOUND || !has_key(text.data))
        return r < 0 ? r : 0;
    if (ways->keys++ == 0)
        (void)snprintf(ways->key_of, sizeof(ways->key_of), "%s", account->name);
    return 0;
}

static void take_password(const struct account *account, struct ways *ways)
{
    size_t len = strlen(ways->password_of);

    if (account->password == ACCOUNT_LOCKED)
        return;
    if (ways->passwords++ < NAMED_MAX)
        (void)snprintf(ways->password_of + len, sizeof(ways->password_of) - len, "%s%s",
                       len ? " " : "", account->name);
}

static int find_ways(struct im_look *look, struct im_guest *guest, struct ways *ways,
                     struct im_error *err)
{
    struct accounts *accounts IM_FREE = malloc(sizeof(*accounts));
    unsigned homes = 0;
    int r;

    if (!accounts)
        return im_fail(err, ENOMEM, "out of memory");
    r = accounts_read(look, guest, accounts, err);
    ways->unread |= r == LINUX_UNREADABLE || accounts->shadow_unread;
    if (r == LINUX_ABSENT)
        im_report_fault(look->report, NULL, NULL, "give a disk with a whole system on it",
                        "There is no /etc/passwd");
    if (r != LINUX_FOUND)
        return r < 0 ? r : 0;
    r = 0;
    for (unsigned i = 0; r == 0 && i < accounts->count; i++) {
        const struct account *account = &accounts->account[i];

        if (!account->shell)
            continue;
        take_password(account, ways);
        if (homes++ < HOMES_MAX)
            r = take_keys(look, guest, account, ways, err);
    }
    return r;
}

static int has_sshd(struct im_guest *guest, struct im_error *err)
{
    static const char *const places[] = { "/usr/sbin/sshd", "/usr/bin/sshd", "/usr/sbin/dropbear" };
    int r = LINUX_ABSENT;

    for (size_t i = 0; r == LINUX_ABSENT && i < sizeof(places) / sizeof(places[0]); i++) {
        struct im_file file;

        r = linux_stat(guest, places[i], &file, err);
    }
    return r;
}

/* cloud_init and sshd are enum linux_found. */
static void judge(struct im_report *report, const struct ways *ways, int cloud_init, int sshd)
{
    bool none = cloud_init != LINUX_FOUND && !ways->keys && !ways->passwords;

    if (cloud_init == LINUX_FOUND)
        im_report_okay(report, "cloud-init is installed: it fetches keys for its user");
    if (ways->keys)
        im_report_okay(report, "%u users have authorized keys, %s first", ways->keys, ways->key_of);
    if (ways->passwords)
        im_report_okay(report, "%u users can log in by password: %s", ways->passwords,
                       ways->password_of);
    if (none && (ways->unread || cloud_init == LINUX_UNREADABLE))
        im_report_unknown(report, "whether anybody could log in stands in what cannot be read");
    else if (none)
        im_report_fault(report, "NoAccess", NULL, LET_IN,
                        "Nobody could log in: there is no cloud-init, no user has authorized keys "
                        "or a password");
    if (sshd == LINUX_UNREADABLE)
        im_report_unknown(report, "whether there is an SSH server cannot be read");
    else if (sshd == LINUX_ABSENT)
        im_report_warning(report, INSTALL_SSH,
                          "there is no SSH server: users can log in at the console only");
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct ways ways = { 0 };
    struct im_guest *guest;
    int cloud_init, sshd;
    int r = linux_of(look, &guest, err);

    (void)args;
    if (r <= 0)
        return r;
    r = find_ways(look, guest, &ways, err);
    if (r < 0)
        return r;
    cloud_init = linux_has_cloud_init(guest, err);
    sshd = cloud_init < 0 ? cloud_init : has_sshd(guest, err);
    if (sshd < 0)
        return sshd;
    judge(look->report, &ways, cloud_init, sshd);
    return 0;
}

const struct im_stage im_stage_check_access = {
    .name = "check-access",
    .summary = "somebody can log in: cloud-init, authorized keys, or a password",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .optional = true,
    .required_capacity = im_look_capacity,
    .uses = im_guest_uses,
    .look = look,
};
