/* fuzz-url-policy - the judge of URLs against libcurl, which follows them.
 *
 * An input is a URL.  A finding is a report of a sanitizer; a URL that is taken apart here, and
 * that libcurl takes for another host, port or scheme; an address in it that is judged otherwise
 * than the one libcurl would connect to; an address that is judged by how it is wrapped.
 *
 * A program of its own beside those of fuzz-image.h; without libFuzzer main is fuzz-bytes.c's. */

#include <config.h>

#include "fuzz/fuzz-bytes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "base/url-policy.h"

static const struct im_url_policy people, strangers = { .strict = true };

_Noreturn static void fault_in(const char *what, const char *text)
{
    (void)fprintf(stderr, "FINDING: %s: %s\n", what, text);
    abort();
}

/* An address as libcurl has it, "1.2.3.4" or "[::1]"; false: a name. */
static bool parse_address(const char *host, struct sockaddr_storage *ret_address)
{
    struct sockaddr_in ipv4 = { .sin_family = AF_INET };
    struct sockaddr_in6 ipv6 = { .sin6_family = AF_INET6 };
    char text[64];

    if (inet_pton(AF_INET, host, &ipv4.sin_addr) == 1) {
        memcpy(ret_address, &ipv4, sizeof(ipv4));
        return true;
    }
    if (host[0] != '[' || strlen(host) >= sizeof(text))
        return false;
    (void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(host + 1, "]"), host + 1);
    if (inet_pton(AF_INET6, text, &ipv6.sin6_addr) != 1)
        return false;
    memcpy(ret_address, &ipv6, sizeof(ipv6));
    return true;
}

/* The verdict about what is written and that about where it leads must be one. */
static void compare_verdicts(const char *url, const char *host)
{
    struct sockaddr_storage address;
    bool is_address = parse_address(host, &address);

    for (int strict = 0; strict < 2; strict++) {
        const struct im_url_policy *policy = strict ? &strangers : &people;
        int r = im_url_policy_check(policy, url, NULL, NULL);
        bool refused = is_address && im_url_policy_refuses(policy, (const void *)&address) != NULL;

        if (r != 0 && r != -EACCES)
            fault_in("a URL that is one without a policy", url);
        /* what only libcurl takes for an address is judged when it connects */
        if (r == -EACCES && !refused)
            fault_in("its address is refused, the one libcurl connects to is not", url);
    }
}

/* The host text of ours and libcurl's: the same, or two spellings of one IPv4 address. */
static bool is_host(const struct im_url *url, const char *host, const char *port)
{
    char ours[300], theirs[300];
    const char *bracket = memchr(url->host, ']', url->host_len);
    const char *from = bracket ? bracket : url->host;
    const char *colon = memchr(from, ':', url->host_len - (size_t)(from - url->host));
    struct in_addr a, b;

    (void)snprintf(ours, sizeof(ours), "%.*s%s%s", (int)url->host_len, url->host, colon ? "" : ":",
                   colon        ? ""
                   : url->https ? "443"
                                : "80");
    (void)snprintf(theirs, sizeof(theirs), "%s:%s", host, port);
    colon = strrchr(ours, ':');
    /* both without leading zeros */
    if (strtoul(colon + 1, NULL, 10) != strtoul(port, NULL, 10))
        return false;
    ours[colon - ours] = '\0';
    if (strcasecmp(ours, host) == 0)
        return true;
    if (ours[0] == '[') { /* libcurl writes IPv6 anew */
        struct sockaddr_storage left = { 0 }, right = { 0 };

        return parse_address(ours, &left) && parse_address(host, &right) &&
               memcmp(&left, &right, sizeof(left)) == 0;
    }
    /* "1.2.3.4." and the like: libcurl alone takes it for an address, which the second look is for
     */
    return inet_pton(AF_INET, host, &b) == 1 && (inet_aton(ours, &a) == 0 || a.s_addr == b.s_addr);
}

static void compare_with_curl(const char *url, const struct im_url *split)
{
    CURLU *curl = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL;

    /* as CURLOPT_URL, PATH_AS_IS and DISALLOW_USERNAME_IN_URL have it */
    if (curl && curl_url_set(curl, CURLUPART_URL, url,
                             CURLU_NON_SUPPORT_SCHEME | CURLU_DISALLOW_USER | CURLU_PATH_AS_IS) ==
                    CURLUE_OK) {
        if (curl_url_get(curl, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
            curl_url_get(curl, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
            curl_url_get(curl, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK)
            fault_in("libcurl finds no host", url);
        if (strcmp(scheme, split->https ? "https" : "http") != 0)
            fault_in("libcurl reads another scheme", url);
        if (!is_host(split, host, port))
            fault_in("libcurl reads another host", url);
        compare_verdicts(url, host);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(curl);
}

/* However an IPv4 address is wrapped, it is judged as itself. */
static void wrap(const uint8_t *bytes)
{
    static const uint8_t prefixes[][12] = {
        { [10] = 0xff, [11] = 0xff },
        { 0, 0x64, 0xff, 0x9b },
        { [8] = 0xff, [9] = 0xff },
    };
    struct sockaddr_in ipv4 = { .sin_family = AF_INET };
    struct sockaddr_in6 ipv6 = { .sin6_family = AF_INET6 };
    const char *bare;

    memcpy(&ipv4.sin_addr, bytes, 4);
    bare = im_url_policy_refuses(&strangers, (const void *)&ipv4);
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        memcpy(&ipv6.sin6_addr, prefixes[i], 12);
        memcpy((uint8_t *)&ipv6.sin6_addr + 12, bytes, 4);
        if (im_url_policy_refuses(&strangers, (const void *)&ipv6) != bare)
            fault_in("an address is judged by its wrapping", bare ? bare : "public");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct im_url split;
    char *url = fuzz_text(data, len);

    if (!url)
        return 0;
    if (len >= 4)
        wrap(data + len - 4);
    (void)im_url_is_network(url);
    if (im_url_policy_check(NULL, url, NULL, NULL) == 0 && im_url_split(url, &split, NULL) == 0) {
        const struct im_url_policy own = { .strict = true, .own = url };
        bool trusted;

        if (im_url_policy_check(&own, url, &trusted, NULL) < 0 || !trusted)
            fault_in("the own store is refused", url);
        compare_with_curl(url, &split);
    }
    free(url);
    return 0;
}
