/* check-network - will the first interface ask for its address, whatever the machine calls it?
 *
 * What is configured is read, not what a daemon would make of all of it together. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "guest/as-file.h"
#include "guest/guest.h"
#include "stage/linux.h"
#include "stage/netconf.h"

#define USE_DHCP "configure the first interface by DHCP, or install cloud-init"
#define ANY_CARD "remove the hardware address: the machine will have another"
#define ANY_NAME "match any name (en*, e*), or use eth0 with net.ifnames=0"
#define NO_RULES "remove the file: it is written again for the new machine's interfaces"

/* Files of one directory that are read. */
#define FILES_MAX 32u

static const struct place {
    enum netconf_kind kind;
    const char *dir;         /* or the file itself, when begin and end are NULL */
    const char *begin, *end; /* of the names */
} places[] = {
    { NETCONF_IFUPDOWN, "/etc/network/interfaces", NULL, NULL },
    { NETCONF_IFUPDOWN, "/etc/network/interfaces.d", "", "" },
    { NETCONF_NETPLAN, "/etc/netplan", "", ".yaml" },
    { NETCONF_NETWORKD, "/etc/systemd/network", "", ".network" },
    { NETCONF_NETWORKD, "/etc/systemd/network", "", ".link" },
    { NETCONF_KEYFILE, "/etc/NetworkManager/system-connections", "", "" },
    { NETCONF_IFCFG, "/etc/sysconfig/network-scripts", "ifcfg-", "" },
    { NETCONF_IFCFG, "/etc/sysconfig/network", "ifcfg-", "" },
};

struct found {
    struct im_look *look;
    struct im_guest *guest;
    char dhcp[192];   /* path of the first file that asks for DHCP; "" none */
    char fixed[192];  /* of the first that gives an address */
    char address[64]; /* which */
};

static bool is_backup(const char *name)
{
    size_t len = strlen(name);

    return len == 0 || name[len - 1] == '~' || strstr(name, ".bak") || strstr(name, ".orig") ||
           strstr(name, ".rpmsave") || strcmp(name, "ifcfg-lo") == 0;
}

static bool has_end(const char *name, const char *end)
{
    size_t len = strlen(name), n = strlen(end);

    return len >= n && strcmp(name + len - n, end) == 0;
}

static void judge_file(struct found *found, const char *path, const struct netconf *conf)
{
    struct im_report *report = found->look->report;

    if (conf->dhcp && !*found->dhcp)
        (void)snprintf(found->dhcp, sizeof(found->dhcp), "%s", path);
    if (*conf->address && !*found->fixed) {
        (void)snprintf(found->fixed, sizeof(found->fixed), "%s", path);
        (void)snprintf(found->address, sizeof(found->address), "%s", conf->address);
    }
    if (*conf->mac)
        im_report_warning(report, ANY_CARD, "%s is for the interface with the address %s alone",
                          path, conf->mac);
    if ((conf->dhcp || *conf->address) && netconf_name_is_local(conf->name))
        im_report_warning(report, ANY_NAME,
                          "%s is for %s: interfaces have other names elsewhere (eth0, ens5)", path,
                          conf->name);
}

static int read_file(struct found *found, enum netconf_kind kind, const char *path,
                     struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(LINUX_TEXT_MAX);
    struct netconf conf;
    int r = linux_text(found->look, found->guest, path, &text, err);

    if (r != LINUX_FOUND)
        return r < 0 ? r : 0;
    netconf_parse(kind, text.data, &conf);
    if (conf.off)
        return 0;
    judge_file(found, path, &conf);
    return 0;
}

static int read_place(struct found *found, const struct place *place, struct im_error *err)
{
    struct linux_names names LINUX_NAMES_DONE = { 0 };
    size_t read = 0;
    int r;

    if (!place->begin)
        return read_file(found, place->kind, place->dir, err);
    r = linux_list(found->look, found->guest, place->dir, &names, err);
    if (r != LINUX_FOUND)
        return r < 0 ? r : 0;
    r = 0;
    for (size_t i = 0; r == 0 && i < names.count && read < FILES_MAX; i++) {
        const char *name = names.name[i];
        char path[192];

        if (strncmp(name, place->begin, strlen(place->begin)) != 0 || !has_end(name, place->end) ||
            is_backup(name) ||
            snprintf(path, sizeof(path), "%s/%s", place->dir, name) >= (int)sizeof(path))
            continue;
        read++;
        r = read_file(found, place->kind, path, err);
    }
    return r;
}

/* Rules that udev wrote once, which bind names to hardware addresses. */
static int read_rules(struct found *found, struct im_error *err)
{
    static const char *const rules[] = { "/etc/udev/rules.d/70-persistent-net.rules",
                                         "/etc/udev/rules.d/75-persistent-net.rules",
                                         "/etc/udev/rules.d/60-net.rules" };

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(LINUX_TEXT_MAX);
        int r = linux_text(found->look, found->guest, rules[i], &text, err);
        char *rest = r == LINUX_FOUND ? text.data : NULL;
        unsigned bound = 0;
        const char *line;

        if (r < 0)
            return r;
        while (rest && (line = linux_line(&rest)))
            bound += *line != '#' && strstr(line, "address") && strstr(line, "NAME");
        if (bound)
            im_report_warning(found->look->report, NO_RULES,
                              "%s binds %u names of interfaces to hardware addresses", rules[i],
                              bound);
    }
    return 0;
}

static void judge(struct found *found, int cloud_init, bool manager)
{
    struct im_report *report = found->look->report;

    if (*found->dhcp)
        im_report_okay(report, "%s asks for an address by DHCP", found->dhcp);
    if (*found->fixed && !*found->dhcp && cloud_init != LINUX_FOUND)
        im_report_fault(report, "NetworkFixed", NULL, USE_DHCP,
                        "%s gives an interface the address %s, and none asks for one by DHCP",
                        found->fixed, found->address);
    else if (*found->fixed)
        im_report_warning(report, USE_DHCP, "%s gives an interface the address %s", found->fixed,
                          found->address);
    if (*found->dhcp || *found->fixed)
        return;
    if (cloud_init == LINUX_FOUND)
        im_report_okay(report, "cloud-init configures the network");
    else if (manager)
        im_report_okay(report, "NetworkManager asks for an address by DHCP where nothing is "
                               "configured");
    else
        im_report_fault(report, "NetworkFixed", NULL, USE_DHCP,
                        "Nothing configures the network: neither ifupdown, netplan, networkd, "
                        "NetworkManager nor cloud-init");
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct found found = { .look = look };
    struct im_file file;
    int cloud_init, manager;
    int r = linux_of(look, &found.guest, err);

    (void)args;
    if (r <= 0)
        return r;
    r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(places) / sizeof(places[0]); i++)
        r = read_place(&found, &places[i], err);
    if (r == 0)
        r = read_rules(&found, err);
    if (r < 0)
        return r;
    cloud_init = linux_has_cloud_init(found.guest, err);
    manager = cloud_init < 0 ? cloud_init
                             : linux_stat(found.guest, "/usr/sbin/NetworkManager", &file, err);
    if (manager < 0)
        return manager;
    judge(&found, cloud_init, manager == LINUX_FOUND);
    return 0;
}

const struct im_stage im_stage_check_network = {
    .name = "check-network",
    .summary = "the first interface gets its address by DHCP and is not bound to a machine",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .optional = true,
    .required_capacity = im_look_capacity,
    .uses = im_guest_uses,
    .look = look,
};
