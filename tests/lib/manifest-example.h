/* manifest-example - an import manifest, and what differs from it in one place. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/text.h"

#define MANIFEST_PART_1                                                                            \
    "      <part index=\"1\">\n"                                                                   \
    "        <byte-range start=\"10485760\" end=\"12582911\"/>\n"                                  \
    "        <key>u//web.img.part.1</key>\n"                                                       \
    "        <head-url>http://s3:8773/b/u//web.img.part.1?m=h&amp;s=d%3D</head-url>\n"             \
    "        <get-url>http://s3:8773/b/u//web.img.part.1?m=g&amp;s=e%3D</get-url>\n"               \
    "        <delete-url>http://s3:8773/b/u//web.img.part.1?m=d&amp;s=f%3D</delete-url>\n"         \
    "      </part>\n"

/* As stock clients lay it out: two parts. */
static const char manifest_example[] =
    "<?xml version='1.0' encoding='UTF-8' standalone='yes'?>\n"
    "<manifest>\n"
    "  <version>2010-11-15</version>\n"
    "  <file-format>RAW</file-format>\n"
    "  <importer>\n"
    "    <name>euca2ools</name>\n"
    "    <version>3.4.1</version>\n"
    "    <release>0</release>\n"
    "  </importer>\n"
    "  <self-destruct-url>http://s3:8773/b/web.img.manifest.xml?AWSAccessKeyId=A&amp;Expires=1"
    "</self-destruct-url>\n"
    "  <import>\n"
    "    <size>12582912</size>\n"
    "    <volume-size>1</volume-size>\n"
    "    <parts count=\"2\">\n"
    "      <part index=\"0\">\n"
    "        <byte-range start=\"0\" end=\"10485759\"/>\n"
    "        <key>u//web.img.part.0</key>\n"
    "        <head-url>http://s3:8773/b/u//web.img.part.0?m=h&amp;s=a%3D</head-url>\n"
    "        <get-url>http://s3:8773/b/u//web.img.part.0?m=g&amp;s=b%3D</get-url>\n"
    "        <delete-url>http://s3:8773/b/u//web.img.part.0?m=d&amp;s=c%3D</delete-url>\n"
    "      </part>\n" MANIFEST_PART_1 "    </parts>\n"
    "  </import>\n"
    "</manifest>";

/* It with the first `old` in it replaced; the caller's. */
static inline char *change_example(const char *old, const char *new)
{
    const char *at = strstr(manifest_example, old);

    if (!at)
        fail_msg("the example has no '%s'", old);
    return im_asprintf("%.*s%s%s", (int)(at - manifest_example), manifest_example, new,
                       at + strlen(old));
}
