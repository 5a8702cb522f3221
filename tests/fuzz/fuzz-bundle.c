/* fuzz-bundle - the reader of bundles' manifests, and of the tar headers in bundles.
 *
 * An input is taken for all of them.  A finding is a report of a sanitizer, or a manifest that is
 * accepted and breaks what aws/bundle.h promises.
 *
 * A program of its own beside those of fuzz-image.h; without libFuzzer main is fuzz-bytes.c's. */

#include <config.h>

#include "fuzz/fuzz-bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/bundle.h"
#include "source/tar.h"

static void judge(const struct im_bundle *bundle, size_t len)
{
    if (bundle->part_count == 0 || bundle->part_count > IM_BUNDLE_PARTS_MAX)
        fault("a number of parts that is not allowed");
    for (size_t i = 0; i < bundle->part_count; i++) {
        const char *name = bundle->part[i].name;

        if (!name || !*name)
            fault("a part without a name");
        if (!bundle->download && (strchr(name, '/') || strcmp(name, "..") == 0))
            fault("a name that leads out of the directory");
        if (bundle->download && strncasecmp(name, "http", 4) != 0)
            fault("an URL that is none");
    }
    if (bundle->bundled_size / bundle->part_count > IM_BUNDLE_PART_MAX ||
        bundle->bundled_size % IM_CBC_KEY != 0)
        fault("sizes that do not fit");
    if (bundle->signed_len > len || (!bundle->download && !bundle->has_digest))
        fault("more is signed than there is, or no digest");
    if (bundle->key[IM_BUNDLE_USER].len == 0 || bundle->vector[IM_BUNDLE_USER].len == 0)
        fault("no key");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct im_bundle *bundle;
    struct im_tar_header header;
    uint8_t block[IM_TAR_BLOCK] = { 0 };
    uint64_t size = 0;
    char *text = fuzz_text(data, len);

    if (!text)
        return 0;
    fault_if_xml_is_loud();
    if (im_bundle_parse(text, len, &bundle, NULL) == 0) {
        judge(bundle, len);
        im_bundle_free(bundle);
    }
    (void)im_tar_pax((const char *)data, len, &size, NULL);
    memcpy(block, data, len < sizeof(block) ? len : sizeof(block));
    if (im_tar_header(block, &header, NULL) == 0 && header.size > INT64_MAX)
        fault("a size that no file has");
    free(text);
    return 0;
}
