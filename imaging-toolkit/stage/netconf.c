/* netconf - what one file of network configuration gives its interfaces; see netconf.h, and
 * interfaces(5), netplan(5), systemd.network(5), nm-settings-keyfile(5), nm-settings-ifcfg-rh(5).
 */

#include <config.h>

#include "stage/netconf.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "stage/linux.h"

#define LOOPBACK "lo"

static void take_first(char *to, size_t size, const char *value)
{
    if (!*to && strcmp(value, LOOPBACK) != 0)
        (void)snprintf(to, size, "%s", value);
}

static bool yes(const char *value)
{
    return strcasecmp(value, "yes") == 0 || strcasecmp(value, "true") == 0 ||
           strcasecmp(value, "on") == 0 || strcasecmp(value, "1") == 0;
}

/* "KEY=value" or "key: value", quotes undone; NULL: the line is of another kind. */
static char *split(char *line, char sign)
{
    char *value = strchr(line, sign);
    size_t len;

    if (!value)
        return NULL;
    *value++ = '\0';
    line[strcspn(line, " \t")] = '\0';
    value += strspn(value, " \t\"'");
    len = strcspn(value, "\"'#");
    value[len] = '\0';
    while (len > 0 && strchr(" \t", value[len - 1]))
        value[--len] = '\0';
    return value;
}

/* "iface eth0 inet dhcp", then "address 10.0.0.5" and "hwaddress ether 00:…" below it. */
static void ifupdown(char *line, struct netconf *conf)
{
    char *key = linux_word(&line), *first = linux_word(&line);

    if (!key || !first)
        return;
    if (strcmp(key, "iface") == 0 && strcmp(first, LOOPBACK) != 0) {
        const char *family = linux_word(&line), *method = linux_word(&line);

        take_first(conf->name, sizeof(conf->name), first);
        conf->other = !family || strcmp(family, "inet") != 0;
        conf->dhcp |= !conf->other && method && strcmp(method, "dhcp") == 0;
    } else if (strcmp(key, "address") == 0 && !conf->other) {
        take_first(conf->address, sizeof(conf->address), first);
    } else if (strcmp(key, "hwaddress") == 0) {
        const char *mac = linux_word(&line);

        take_first(conf->mac, sizeof(conf->mac), mac ? mac : first);
    }
}

/* YAML is not read as YAML: the words that count stand on lines of their own, or in [brackets]. */
static void netplan(char *line, struct netconf *conf)
{
    static const char *const words[] = { "network",         "ethernets", "match",
                                         "nameservers",     "routes",    "dhcp4-overrides",
                                         "dhcp6-overrides", "wifis",     "bonds",
                                         "bridges",         "vlans",     "addresses",
                                         "search",          "link-local" };
    char *value;

    if (*line == '-' && conf->address[0] == '?') { /* the first of a list of addresses */
        line += 1 + strspn(line + 1, " \t\"'");
        (void)snprintf(conf->address, sizeof(conf->address), "%.*s", (int)strcspn(line, " \"'#"),
                       line);
        return;
    }
    value = split(line, ':');
    if (!value)
        return;
    if (strcmp(line, "dhcp4") == 0)
        conf->dhcp |= yes(value);
    else if (strcmp(line, "macaddress") == 0)
        take_first(conf->mac, sizeof(conf->mac), value);
    else if (strcmp(line, "name") == 0 || strcmp(line, "set-name") == 0)
        take_first(conf->name, sizeof(conf->name), value);
    else if (strcmp(line, "addresses") == 0 && !*conf->address)
        (void)snprintf(conf->address, sizeof(conf->address), "%.*s",
                       (int)(*value == '[' ? strcspn(value + 1, " ,]") : 1),
                       *value == '[' ? value + 1 : "?");
    else if (!*value && !*conf->name) {
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
            if (strcmp(line, words[i]) == 0)
                return;
        take_first(conf->name, sizeof(conf->name), line);
    }
}

static void networkd(char *line, struct netconf *conf)
{
    const char *value = split(line, '=');

    if (!value)
        return;
    if (strcmp(line, "DHCP") == 0)
        conf->dhcp |= yes(value) || strcmp(value, "ipv4") == 0 || strcmp(value, "both") == 0 ||
                      strcmp(value, "v4") == 0;
    else if (strcmp(line, "Name") == 0)
        take_first(conf->name, sizeof(conf->name), value);
    else if (strcmp(line, "Address") == 0)
        take_first(conf->address, sizeof(conf->address), value);
    else if (strcmp(line, "MACAddress") == 0 || strcmp(line, "PermanentMACAddress") == 0)
        take_first(conf->mac, sizeof(conf->mac), value);
}

static void keyfile(char *line, struct netconf *conf)
{
    const char *value;

    if (*line == '[')
        conf->other = strcmp(line, "[ipv6]") == 0;
    value = split(line, '=');
    if (!value || conf->other)
        return;
    if (strcmp(line, "method") == 0)
        conf->dhcp |= strcmp(value, "auto") == 0;
    else if (strcmp(line, "autoconnect") == 0)
        conf->off = !yes(value);
    else if (strcmp(line, "interface-name") == 0)
        take_first(conf->name, sizeof(conf->name), value);
    else if (strcmp(line, "address1") == 0 || strcmp(line, "addresses") == 0)
        take_first(conf->address, sizeof(conf->address), value);
    else if (strcmp(line, "mac-address") == 0)
        take_first(conf->mac, sizeof(conf->mac), value);
}

static void ifcfg(char *line, struct netconf *conf)
{
    const char *value = split(line, '=');

    if (!value)
        return;
    if (strcmp(line, "BOOTPROTO") == 0)
        conf->dhcp |= strncasecmp(value, "dhcp", 4) == 0 || strcasecmp(value, "bootp") == 0;
    else if (strcmp(line, "ONBOOT") == 0)
        conf->off = !yes(value);
    else if (strcmp(line, "STARTMODE") == 0)
        conf->off = strcmp(value, "off") == 0 || strcmp(value, "manual") == 0;
    else if (strcmp(line, "DEVICE") == 0)
        take_first(conf->name, sizeof(conf->name), value);
    else if (strncmp(line, "IPADDR", 6) == 0)
        take_first(conf->address, sizeof(conf->address), value);
    else if (strcmp(line, "HWADDR") == 0 || strcmp(line, "LLADDR") == 0)
        take_first(conf->mac, sizeof(conf->mac), value);
}

void netconf_parse(enum netconf_kind kind, char *text, struct netconf *ret_netconf)
{
    static void (*const parse[])(char *line, struct netconf *conf) = {
        [NETCONF_IFUPDOWN] = ifupdown, [NETCONF_NETPLAN] = netplan, [NETCONF_NETWORKD] = networkd,
        [NETCONF_KEYFILE] = keyfile,   [NETCONF_IFCFG] = ifcfg,
    };
    char *line;

    *ret_netconf = (struct netconf){ 0 };
    while (text && (line = linux_line(&text)))
        if (*line != '#' && *line != ';' && *line != '\0')
            parse[kind](line, ret_netconf);
}

bool netconf_name_is_local(const char *name)
{
    return strncmp(name, "en", 2) == 0 &&
           (name[2] == 'p' || name[2] == 's' || name[2] == 'o' || name[2] == 'x') &&
           isxdigit((unsigned char)name[3]) && !strpbrk(name, "*?[");
}
