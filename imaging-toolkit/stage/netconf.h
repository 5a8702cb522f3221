/* netconf - what one file of network configuration gives its interfaces: an address by DHCP, or one
 * of its own; which names and hardware addresses it insists on.  Five ways to write it are known;
 * it is read for that alone. */
#pragma once

#include <stdbool.h>

enum netconf_kind {
    NETCONF_IFUPDOWN, /* /etc/network/interfaces */
    NETCONF_NETPLAN,  /* /etc/netplan/x.yaml */
    NETCONF_NETWORKD, /* /etc/systemd/network/x.network, x.link */
    NETCONF_KEYFILE,  /* NetworkManager's x.nmconnection */
    NETCONF_IFCFG,    /* ifcfg-eth0 of Red Hat and SUSE */
};

struct netconf {
    bool dhcp;        /* of IPv4 */
    bool off;         /* it is not used at the start: what it says does not count */
    char name[64];    /* of the first interface but lo it is for; "" any */
    char address[64]; /* the first that is fixed; "" none */
    char mac[32];     /* the first it insists on; "" none */
    bool other;       /* what is being read is not about IPv4 */
};

/* Read the text, which is cut up. */
void netconf_parse(enum netconf_kind kind, char *text, struct netconf *ret_netconf);

/* Is this a name that only the machine it was written on gives its interface ("ens33", "enp0s3")?
 */
bool netconf_name_is_local(const char *name);
