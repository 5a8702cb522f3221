/* url-policy - the table of addresses that are not public, and the judgements made with it. */

#include <config.h>

#include "base/url-policy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

/* ---- addresses ---- */

/* An address of either family, as IPv6 has it: of IPv4 "::ffff:a.b.c.d". */
struct address {
    uint8_t byte[16];
};

#define MAPPED_BITS 96

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

static struct address from_ipv4(const void *bytes)
{
    struct address address;

    memcpy(address.byte, mapped, sizeof(mapped));
    memcpy(address.byte + sizeof(mapped), bytes, 4);
    return address;
}

static bool is_below(const struct address *address, const struct address *network, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    return memcmp(address->byte, network->byte, whole) == 0 &&
           (rest == 0 || (address->byte[whole] ^ network->byte[whole]) >> (8 - rest) == 0);
}

/* "10.0.0.0/8", "fe80::/10"; without bits it is one address.  What follows the bits must be zero,
 * so that nobody allows more than he reads. */
static bool parse_network(const char *text, struct address *ret_address, unsigned *ret_bits)
{
    char head[INET6_ADDRSTRLEN];
    size_t len = strcspn(text, "/");
    bool is_ipv4 = !memchr(text, ':', len);
    uint64_t most = is_ipv4 ? 32 : 128, bits = most;
    struct in_addr ipv4;

    if (len >= sizeof(head))
        return false;
    memcpy(head, text, len);
    head[len] = '\0';
    if (text[len] == '/' && im_parse_uint(text + len + 1, most, &bits) < 0)
        return false;
    if (inet_pton(is_ipv4 ? AF_INET : AF_INET6, head,
                  is_ipv4 ? (void *)&ipv4 : ret_address->byte) != 1)
        return false;
    if (is_ipv4)
        *ret_address = from_ipv4(&ipv4);
    *ret_bits = (unsigned)bits + (is_ipv4 ? MAPPED_BITS : 0);
    for (unsigned bit = *ret_bits; bit < 128; bit++)
        if (ret_address->byte[bit / 8] & 0x80 >> bit % 8)
            return false;
    return true;
}

bool im_url_is_network(const char *text)
{
    struct address address;
    unsigned bits;

    return parse_network(text, &address, &bits);
}

/* The first row that holds an address decides.  IANA's registries of special-purpose addresses,
 * and what clouds have made special besides. */
static const struct row {
    const char *network;
    bool never;       /* not even when the policy is not strict */
    const char *what; /* NULL: public */
} rows[] = {
    { "169.254.0.0/16", true, "a link-local address, as metadata services have" },
    { "fe80::/10", true, "a link-local address" },
    { "100.100.100.200", true, "the address of a metadata service" }, /* Alibaba's */
    { "168.63.129.16", true, "the address of a metadata service" },   /* Azure's, public by look */
    { "192.0.0.192", true, "the address of a metadata service" },     /* Oracle's */
    { "fd00:ec2::/32", true, "the address of a metadata service" },   /* Amazon's */
    { "fd20:ce::254", true, "the address of a metadata service" },    /* Google's */
    { "fd00:42::42", true, "the address of a metadata service" },     /* Scaleway's */
    { "0.0.0.0/8", false, "an address of this host" },
    { "10.0.0.0/8", false, "a private address" },
    { "100.64.0.0/10", false, "a carrier's private address" },
    { "127.0.0.0/8", false, "a loopback address" },
    { "172.16.0.0/12", false, "a private address" },
    { "192.0.0.0/24", false, "a reserved address" },
    { "192.0.2.0/24", false, "an address for documentation" },
    { "192.88.99.0/24", false, "a reserved address" }, /* relays of 6to4 */
    { "192.168.0.0/16", false, "a private address" },
    { "198.18.0.0/15", false, "an address for measurements" },
    { "198.51.100.0/24", false, "an address for documentation" },
    { "203.0.113.0/24", false, "an address for documentation" },
    { "224.0.0.0/4", false, "a multicast address" },
    { "240.0.0.0/4", false, "a reserved address" },
    { "0.0.0.0/0", false, NULL },
    { "::/128", false, "an address of this host" },
    { "::1/128", false, "a loopback address" },
    { "fc00::/7", false, "a private address" },
    { "ff00::/8", false, "a multicast address" },
    { "2001::/23", false, "a reserved address" }, /* Teredo among others */
    { "2001:db8::/32", false, "an address for documentation" },
    { "3fff::/20", false, "an address for documentation" },
    { "2000::/3", false, NULL },
    { "::/0", false, "a reserved address" },
};

/* Where an IPv4 address stands in addresses of a network that leads to it, or once did. */
static const struct {
    const char *network;
    size_t at;
} embeddings[] = {
    { "64:ff9b::/96", 12 },    /* NAT64 */
    { "2002::/16", 2 },        /* 6to4 */
    { "::ffff:0:0:0/96", 12 }, /* SIIT */
    { "::/96", 12 },           /* "compatible" */
};

static bool holds(const char *network, const struct address *address)
{
    struct address first;
    unsigned bits;

    return parse_network(network, &first, &bits) && is_below(address, &first, bits);
}

/* What is reached behind a translator is what counts. */
static struct address unwrap(const struct address *address)
{
    if (holds("::/127", address)) /* "::" and "::1" are themselves */
        return *address;
    for (size_t i = 0; i < sizeof(embeddings) / sizeof(embeddings[0]); i++)
        if (holds(embeddings[i].network, address))
            return from_ipv4(address->byte + embeddings[i].at);
    return *address;
}

/* Is the network `inner` a part of `outer`, or all of it? */
static bool lies_within(const char *inner, const char *outer)
{
    struct address first, outer_first;
    unsigned bits, outer_bits;

    return parse_network(inner, &first, &bits) && parse_network(outer, &outer_first, &outer_bits) &&
           bits >= outer_bits && is_below(&first, &outer_first, outer_bits);
}

/* Does an entry of the policy open the address?  Metadata services stand in networks that are
 * opened for other reasons: they are open to who names them. */
static bool is_opened(const struct im_url_policy *policy, const struct row *row,
                      const struct address *address, const struct address *reached)
{
    for (size_t i = 0; i < policy->networks.count; i++) {
        const char *network = policy->networks.item[i];

        if ((holds(network, address) || holds(network, reached)) &&
            (!row->never || lies_within(network, row->network)))
            return true;
    }
    return false;
}

static const char *judge(const struct im_url_policy *policy, const struct address *address)
{
    struct address reached = unwrap(address);
    const struct row *row = rows;

    while (!holds(row->network, &reached)) /* the last holds all */
        row++;
    if (is_opened(policy, row, address, &reached))
        return NULL;
    return row->never || policy->strict ? row->what : NULL;
}

const char *im_url_policy_refuses(const struct im_url_policy *policy,
                                  const struct sockaddr *address)
{
    struct address judged;
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;

    if (!policy)
        return NULL;
    if (address->sa_family == AF_INET) {
        memcpy(&ipv4, address, sizeof(ipv4));
        judged = from_ipv4(&ipv4.sin_addr);
    } else if (address->sa_family == AF_INET6) {
        memcpy(&ipv6, address, sizeof(ipv6));
        memcpy(judged.byte, &ipv6.sin6_addr, sizeof(judged.byte));
    } else {
        return "no internet address";
    }
    return judge(policy, &judged);
}

/* ---- URLs ---- */

/* Where the port of "name", "name:port", "[v6]" or "[v6]:port" begins, with its colon; len: none.
 */
static size_t port_at(const char *host, size_t len)
{
    const char *bracket = memchr(host, ']', len);
    size_t from = bracket ? (size_t)(bracket - host) : 0;
    const char *colon = memchr(host + from, ':', len - from);

    return colon ? (size_t)(colon - host) : len;
}

static bool same(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

bool im_url_host_matches(const char *entry, const struct im_url *url)
{
    size_t entry_len = strlen(entry), entry_name = port_at(entry, entry_len);
    size_t name = port_at(url->host, url->host_len);
    /* a port that is not written is the scheme's */
    const char *port = name < url->host_len ? url->host + name : url->https ? ":443" : ":80";
    size_t port_len = name < url->host_len ? url->host_len - name : strlen(port);

    if (entry_name < entry_len && !same(entry + entry_name, entry_len - entry_name, port, port_len))
        return false;
    if (entry_name == 1 && entry[0] == '*')
        return true;
    if (strncmp(entry, "*.", 2) != 0)
        return same(entry, entry_name, url->host, name);
    entry++; /* ".NAME", with something before it */
    entry_name--;
    return name > entry_name && same(entry, entry_name, url->host + name - entry_name, entry_name);
}

/* The address that stands in place of a name, in any spelling that C libraries know: "[::1]",
 * "127.0.0.1", "0x7f.1", "2130706433".  What libcurl takes for one besides is judged when it
 * connects. */
static bool parse_host(const struct im_url *url, struct address *ret_address)
{
    size_t len = port_at(url->host, url->host_len);
    char text[INET6_ADDRSTRLEN];
    struct in_addr ipv4;
    bool bracket = url->host[0] == '[';

    if (bracket)
        len -= 2;
    if (len >= sizeof(text))
        return false;
    memcpy(text, url->host + bracket, len);
    text[len] = '\0';
    if (bracket)
        return inet_pton(AF_INET6, text, ret_address->byte) == 1;
    if (inet_aton(text, &ipv4) == 0)
        return false;
    *ret_address = from_ipv4(&ipv4);
    return true;
}

static bool is_own(const char *own, const struct im_url *url)
{
    struct im_url split;

    return own && im_url_split(own, &split, NULL) == 0 && split.https == url->https &&
           same(split.host, split.host_len, url->host, url->host_len);
}

/* "a, b, c"; of a long list its beginning, which is longer than any one host. */
static const char *join(const struct im_url_list *list, struct im_buffer *out)
{
    for (size_t i = 0; i < list->count; i++)
        if (im_buffer_printf(out, "%s%s", i > 0 ? ", " : "", list->item[i]) < 0)
            break;
    return out->len > 0 ? out->data : "";
}

static int refuse_for(const struct im_url_list *list, const char *what, struct im_error *err)
{
    struct im_buffer allowed IM_BUFFER_DONE = IM_BUFFER(300);

    return im_fail_code(err, EACCES, IM_URL_NOT_ALLOWED, "its %s is not allowed; allowed are: %s",
                        what, join(list, &allowed));
}

static bool has_scheme(const struct im_url_list *schemes, const struct im_url *url)
{
    for (size_t i = 0; i < schemes->count; i++)
        if (strcmp(schemes->item[i], url->https ? "https" : "http") == 0)
            return true;
    return schemes->count == 0;
}

/* *ret_exact: the entry has no asterisk. */
static bool has_host(const struct im_url_list *hosts, const struct im_url *url, bool *ret_exact)
{
    bool found = hosts->count == 0;

    *ret_exact = false;
    for (size_t i = 0; i < hosts->count && !*ret_exact; i++)
        if (im_url_host_matches(hosts->item[i], url)) {
            found = true;
            *ret_exact = hosts->item[i][0] != '*';
        }
    return found;
}

static int check(const struct im_url_policy *policy, const struct im_url *url, bool *ret_trusted,
                 struct im_error *err)
{
    struct address address;
    const char *what;
    bool exact = false;

    *ret_trusted = is_own(policy->own, url);
    if (*ret_trusted)
        return 0;
    if (policy->strict && !has_scheme(&policy->schemes, url))
        return refuse_for(&policy->schemes, "scheme", err);
    if (policy->strict && !has_host(&policy->hosts, url, &exact))
        return refuse_for(&policy->hosts, "host", err);
    if (!parse_host(url, &address))
        return 0;
    *ret_trusted = exact;
    what = exact ? NULL : judge(policy, &address);
    return what
               ? im_fail_code(err, EACCES, IM_URL_NOT_ALLOWED, "its host is %s%s", what,
                              policy->strict ? ", which the setting manifest-networks does not list"
                                             : ", where no images are")
               : 0;
}

int im_url_policy_check(const struct im_url_policy *policy, const char *url, bool *ret_trusted,
                        struct im_error *err)
{
    struct im_url split;
    bool trusted = false;
    char shown[256];
    int r = im_url_split(url, &split, err);

    if (r == 0 && split.has_user_info)
        r = im_fail(err, EINVAL, "the URL '%s' carries a user name; remove it",
                    im_text_url(shown, sizeof(shown), url));
    if (r == 0 && policy)
        r = check(policy, &split, &trusted, err);
    if (ret_trusted)
        *ret_trusted = trusted;
    return r;
}
