/* Which URLs may be followed and which addresses connected to: every special range by its first and
 * last address, and by those next to them. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "base/url-policy.h"

static const struct im_url_policy people, strangers = { .strict = true };

static const char *refuses(const struct im_url_policy *policy, const char *text)
{
    struct sockaddr_in ipv4 = { .sin_family = AF_INET };
    struct sockaddr_in6 ipv6 = { .sin6_family = AF_INET6 };

    if (inet_pton(AF_INET, text, &ipv4.sin_addr) == 1)
        return im_url_policy_refuses(policy, (const void *)&ipv4);
    if (inet_pton(AF_INET6, text, &ipv6.sin6_addr) != 1)
        fail_msg("%s is no address", text);
    return im_url_policy_refuses(policy, (const void *)&ipv6);
}

/* What is refused, and what lies next to it on both sides and is not. */
static void ranges_have_edges(void **state)
{
    static const struct {
        const char *before, *first, *last, *after; /* NULL: something else that is refused */
        const char *what;
        bool never;
    } rows[] = {
        { NULL, "0.0.0.0", "0.255.255.255", "1.0.0.0", "this host", false },
        { "9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", "private", false },
        { "100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0", "private", false },
        { NULL, "100.100.100.200", "100.100.100.200", NULL, "metadata", true },
        { "126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0", "loopback", false },
        { "168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17", "metadata", true },
        { "169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0", "link-local", true },
        { "172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0", "private", false },
        { "191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0", "reserved", false },
        { NULL, "192.0.0.192", "192.0.0.192", NULL, "metadata", true },
        { "192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0", "documentation", false },
        { "192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0", "reserved", false },
        { "192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0", "private", false },
        { "198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0", "measurements", false },
        { "198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0", "documentation",
          false },
        { "203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0", "documentation", false },
        { "223.255.255.255", "224.0.0.0", "239.255.255.255", NULL, "multicast", false },
        { NULL, "240.0.0.0", "255.255.255.255", NULL, "reserved", false },
        { NULL, "::", "::", NULL, "this host", false },
        { NULL, "::1", "::1", NULL, "loopback", false },
        { NULL, "::2", "::0.255.255.255", "::1.0.0.0", "this host", false },
        { NULL, "100::", "100::ffff:ffff:ffff:ffff", NULL, "reserved", false },
        { NULL, "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", NULL, "reserved", false },
        { NULL, "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "1fff::", "2000::", "reserved", false },
        { "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
          "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::", "reserved", false },
        { "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::",
          "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "documentation", false },
        { "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::",
          "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::", "documentation", false },
        { "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
          "4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "reserved", false },
        { NULL, "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "private", false },
        { NULL, "fd00:ec2::254", "fd00:ec2::254", NULL, "metadata", true },
        { NULL, "fd20:ce::254", "fd20:ce::254", NULL, "metadata", true },
        { NULL, "fd00:42::42", "fd00:42::42", NULL, "metadata", true },
        { NULL, "fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "reserved", false },
        { NULL, "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "link-local", true },
        { NULL, "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "reserved", false },
        { NULL, "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "multicast", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *in[] = { rows[i].first, rows[i].last },
                   *out[] = { rows[i].before, rows[i].after };

        for (size_t k = 0; k < 2; k++) {
            const char *what = refuses(&strangers, in[k]);

            if (!what || !strstr(what, rows[i].what))
                fail_msg("%s is %s, not %s", in[k], what ? what : "public", rows[i].what);
            if ((refuses(&people, in[k]) != NULL) != rows[i].never)
                fail_msg("%s is not judged right for people", in[k]);
            if (out[k] && (refuses(&strangers, out[k]) || refuses(&people, out[k])))
                fail_msg("%s is %s", out[k], refuses(&strangers, out[k]));
        }
    }
}

/* What stands in addresses of IPv6 is judged as what it leads to. */
static void embedded_addresses_count(void **state)
{
    static const char *const wrappings[] = { "::ffff:%s", "::%s", "64:ff9b::%s", "::ffff:0:%s" };
    char text[64];

    (void)state;
    for (size_t i = 0; i < sizeof(wrappings) / sizeof(wrappings[0]); i++) {
        const char *format = wrappings[i];
        static const char *const bad[] = { "127.0.0.1",       "10.1.2.3",    "169.254.169.254",
                                           "100.100.100.200", "192.168.0.1", "0.0.0.5",
                                           "255.255.255.255" };
        size_t at = strlen(format) - 2; /* of "%s" */

        for (size_t k = 0; k <= sizeof(bad) / sizeof(bad[0]); k++) {
            bool is_good = k == sizeof(bad) / sizeof(bad[0]);

            memcpy(text, format, at);
            strcpy(text + at, is_good ? "8.8.8.8" : bad[k]);
            if ((refuses(&strangers, text) == NULL) != is_good)
                fail_msg("%s is not judged right", text);
        }
    }
    assert_non_null(refuses(&strangers, "2002:7f00:1::"));
    assert_non_null(refuses(&strangers, "2002:a9fe:a9fe::1"));
    assert_non_null(refuses(&people, "2002:a9fe:a9fe::1"));
    assert_non_null(refuses(&people, "64:ff9b::169.254.169.254"));
    assert_null(refuses(&strangers, "2002:808:808::1"));
    assert_null(refuses(&strangers, "2003::7f00:1"));
}

static void networks_open_what_they_hold(void **state)
{
    char ten[] = "10.1.0.0/16", one[] = "127.0.0.1", ula[] = "fd00:1::/64",
         meta[] = "169.254.1.0/25", nat[] = "64:ff9b:1::/48";
    char *list[] = { ten, one, ula, meta, nat };
    const struct im_url_policy some = { .strict = true, .networks = { 5, list } };
    const struct im_url_policy person = { .networks = { 5, list } };
    static const struct {
        const char *address;
        bool is_in;
    } rows[] = {
        { "10.1.0.0", true },
        { "10.1.255.255", true },
        { "10.0.255.255", false },
        { "10.2.0.0", false },
        { "127.0.0.1", true },
        { "127.0.0.2", false },
        { "127.0.0.0", false },
        { "fd00:1::", true },
        { "fd00:1::ffff:ffff:ffff:ffff", true },
        { "fd00:1:0:1::", false },
        { "::ffff:10.1.2.3", true },
        { "::ffff:10.3.2.3", false },
        { "64:ff9b::10.1.2.3", true },
        { "64:ff9b:1::5", true },
        { "169.254.1.127", true },
        { "169.254.1.128", false },
        { "::1", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if ((refuses(&some, rows[i].address) == NULL) != rows[i].is_in)
            fail_msg("%s is not judged right", rows[i].address);
    assert_null(refuses(&person, "169.254.1.1"));
    assert_non_null(refuses(&person, "169.254.1.128"));
}

/* A network that is opened for another reason does not open the metadata service in it. */
static void metadata_is_opened_by_name(void **state)
{
    char carrier[] = "100.64.0.0/10", ula[] = "fd00::/8", all[] = "0.0.0.0/0";
    char ali[] = "100.100.100.200", amazon[] = "fd00:ec2::/32", local[] = "169.254.0.0/16";
    char *wide[] = { carrier, ula, all }, *named[] = { ali, amazon, local };
    const struct im_url_policy open = { .strict = true, .networks = { 3, wide } };
    const struct im_url_policy told = { .strict = true, .networks = { 3, named } };

    (void)state;
    assert_non_null(refuses(&open, "100.100.100.200"));
    assert_null(refuses(&open, "100.100.100.201"));
    assert_non_null(refuses(&open, "fd00:ec2::254"));
    assert_null(refuses(&open, "fd00:1::254"));
    assert_non_null(refuses(&open, "169.254.169.254"));
    assert_null(refuses(&open, "127.0.0.1"));
    assert_null(refuses(&told, "100.100.100.200"));
    assert_null(refuses(&told, "fd00:ec2::254"));
    assert_null(refuses(&told, "169.254.169.254"));
}

static void networks_are_written_exactly(void **state)
{
    static const struct {
        const char *text;
        bool is_one;
    } rows[] = {
        { "10.0.0.0/8", true },
        { "10.0.0.1/8", false },
        { "10.0.0.1", true },
        { "10.0.0.1/32", true },
        { "10.0.0.1/33", false },
        { "10.0.0.0/", false },
        { "10.0.0.0/-1", false },
        { "10.0/16", false },
        { "0.0.0.0/0", true },
        { "::/0", true },
        { "fd00::/8", true },
        { "fd00::1/8", false },
        { "fd00::/129", false },
        { "[fd00::]/8", false },
        { "::ffff:10.0.0.0/104", true },
        { "", false },
        { "/8", false },
        { "localhost", false },
        { "10.0.0.0/8/8", false },
        { " 10.0.0.0/8", false },
        { "0x0a.0.0.0/8", false },
        { "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (im_url_is_network(rows[i].text) != rows[i].is_one)
            fail_msg("'%s' is not judged right", rows[i].text);
}

static void other_families_lead_nowhere(void **state)
{
    const struct sockaddr_un here = { .sun_family = AF_UNIX };

    (void)state;
    assert_non_null(im_url_policy_refuses(&people, (const void *)&here));
    assert_non_null(im_url_policy_refuses(&strangers, (const void *)&here));
    assert_null(im_url_policy_refuses(NULL, (const void *)&here));
}

/* ---- URLs ---- */

static int check(const struct im_url_policy *policy, const char *url)
{
    bool trusted;

    return im_url_policy_check(policy, url, &trusted, NULL);
}

/* However an address is spelled, it is seen before anybody connects. */
static void addresses_in_urls_are_seen(void **state)
{
    static const char *const bad[] = {
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[fe80::1]/",
        "http://169.254.169.254/",
        "http://2852039166/",
        "http://0xa9fea9fe:80/",
        "https://10.0.0.1:8443/",
        "http://[fd00:ec2::254]/",
        "http://017700000001/",
    };
    static const char *const good[] = { "http://8.8.8.8/", "http://134744072/",
                                        "http://[2606:4700::1]:81/", "http://s3/",
                                        "http://127.0.0.1.example.com/" };
    struct im_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (check(&strangers, bad[i]) != -EACCES)
            fail_msg("%s is allowed", bad[i]);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (check(&strangers, good[i]) != 0)
            fail_msg("%s is refused", good[i]);
    assert_int_equal(check(&people, "http://127.0.0.1/"), 0);
    assert_int_equal(check(&people, "http://2852039166/"), -EACCES);
    assert_int_equal(check(NULL, "http://2852039166/"), 0);
    assert_int_equal(im_url_policy_check(&strangers, "http://10.0.0.1/?Signature=x", NULL, &err),
                     -EACCES);
    assert_string_equal(err.code, IM_URL_NOT_ALLOWED);
    assert_non_null(strstr(err.message, "a private address"));
    assert_non_null(strstr(err.message, "manifest-networks"));
}

static void user_names_are_refused(void **state)
{
    static const char *const urls[] = { "http://user:pw@s3/", "http://s3@evil/", "http://@s3/" };

    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        assert_int_equal(check(NULL, urls[i]), -EINVAL);
        assert_int_equal(check(&strangers, urls[i]), -EINVAL);
    }
    assert_int_equal(check(NULL, "http://s3/user:pw@s3"), 0);
}

/* An address that is listed is one the operator wants; a name that is listed may lead anywhere. */
static void listed_addresses_are_trusted(void **state)
{
    char address[] = "127.0.0.1:9000", name[] = "s3.example.com", any[] = "*:443";
    char *list[] = { address, name, any };
    const struct im_url_policy policy = { .strict = true,
                                          .hosts = { 3, list },
                                          .own = "http://store:8773/objects/" };
    static const struct {
        const char *url;
        int r;
        bool trusted;
    } rows[] = {
        { "http://127.0.0.1:9000/", 0, true },
        { "http://127.0.0.1:9001/", -EACCES, false },
        { "http://2130706433:9000/", -EACCES, false },
        { "https://127.0.0.1/", -EACCES, false },
        { "http://s3.example.com/", 0, false },
        { "http://s3.example.com:22/", 0, false },
        { "https://elsewhere/", 0, false },
        { "http://elsewhere/", -EACCES, false },
        { "https://elsewhere:444/", -EACCES, false },
        { "http://store:8773/objects/b/k", 0, true },
        { "http://STORE:8773/other", 0, true },
        { "http://store:8774/objects/b/k", -EACCES, false },
        { "https://store:8773/objects/b/k", -EACCES, false },
        { "http://store.:8773/objects/b/k", -EACCES, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool trusted;

        if (im_url_policy_check(&policy, rows[i].url, &trusted, NULL) != rows[i].r ||
            trusted != rows[i].trusted)
            fail_msg("%s is not judged right", rows[i].url);
    }
}

static void schemes_count(void **state)
{
    char https[] = "https";
    char *list[] = { https };
    const struct im_url_policy policy = { .strict = true, .schemes = { 1, list } };

    (void)state;
    assert_int_equal(check(&policy, "https://s3/"), 0);
    assert_int_equal(check(&policy, "HTTPS://s3/"), 0);
    assert_int_equal(check(&policy, "http://s3/"), -EACCES);
    assert_int_equal(check(&strangers, "http://s3/"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_have_edges),
        cmocka_unit_test(embedded_addresses_count),
        cmocka_unit_test(networks_open_what_they_hold),
        cmocka_unit_test(metadata_is_opened_by_name),
        cmocka_unit_test(networks_are_written_exactly),
        cmocka_unit_test(other_families_lead_nowhere),
        cmocka_unit_test(addresses_in_urls_are_seen),
        cmocka_unit_test(user_names_are_refused),
        cmocka_unit_test(listed_addresses_are_trusted),
        cmocka_unit_test(schemes_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
