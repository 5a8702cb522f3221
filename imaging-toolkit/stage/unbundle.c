/* unbundle - take the image out of an encrypted bundle.
 *
 * Only the arguments are here; the work is source/bundle.c's. */

#include <config.h>

#include <string.h>

#include "core/stage.h"
#include "source/bundle.h"

static int unbundle_open(const struct im_args *args, const struct im_context *context,
                         struct im_source **ret_source, struct im_error *err)
{
    const char *recipient = im_arg_text(args, "recipient");
    const struct im_bundle_keys keys = {
        .manifest = im_arg_text(args, "manifest"),
        .key = im_arg_text(args, "key"),
        .certificate = im_arg_text(args, "cert"),
        .reader = recipient && strcmp(recipient, "cloud") == 0 ? IM_BUNDLE_CLOUD : IM_BUNDLE_USER,
    };

    (void)context;
    return im_bundle_source(&keys, ret_source, err);
}

static const char *const recipients[] = { "user", "cloud", NULL };

static const struct im_param params[] = {
    { "manifest", IM_PARAM_BESIDE, true, NULL,
      "path or URL of the manifest; the parts are beside it" },
    { "key", IM_PARAM_FILE, true, NULL, "PEM file of the recipient's private RSA key" },
    { "cert", IM_PARAM_FILE, false, NULL,
      "PEM file of the certificate the manifest is signed for; without it nobody verifies" },
    { "recipient", IM_PARAM_CHOICE, false, recipients, "whose key it is: user (default) or cloud" },
    { 0 },
};

const struct im_stage im_stage_unbundle = {
    .name = "unbundle",
    .summary = "take the image out of an encrypted bundle",
    .class = IM_BUNDLER,
    .takes = IM_NOTHING,
    .gives = IM_BYTES,
    .params = params,
    .open = unbundle_open,
};
