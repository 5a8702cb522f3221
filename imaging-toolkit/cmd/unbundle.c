/* unbundle - take the image out of an encrypted bundle, into a raw disk. */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cmd/bundler.h"

static const char help[] =
    "usage: imaging-toolkit unbundle --key KEY [options] MANIFEST OUT\n"
    "\n"
    "  imaging-toolkit unbundle --key pk.pem --cert cert.pem image.manifest.xml image.raw\n"
    "  imaging-toolkit unbundle --key pk.pem image.manifest.xml - | gzip >image.gz\n"
    "\n"
    "MANIFEST is a path or an http(s) URL; the parts are beside it, or, of a download manifest,\n"
    "where it says.  OUT is a file, there only when it is whole and proven, or '-'.\n"
    "\n"
    "      --key KEY         the recipient's private RSA key, a PEM file without a passphrase\n"
    "      --cert CERT       the signer's certificate, a PEM file: the manifest's signature must "
    "be\n"
    "                        its; without it anybody may have written the manifest\n"
    "      --recipient WHO   whose key it is: user (default) or cloud\n"
    "      --force           replace OUT when it exists\n"
    "      --progress-fd N   write progress as JSON Lines to descriptor N\n"
    "      --output FORM     print the result as text (default) or json\n"
    "\n"
    "exit status: as of 'imaging-toolkit convert'\n";

static const struct option options[] = {
    { "key", required_argument, NULL, BUNDLER_ARGUMENT + 0 },
    { "cert", required_argument, NULL, BUNDLER_ARGUMENT + 1 },
    { "recipient", required_argument, NULL, BUNDLER_ARGUMENT + 2 },
    { "force", no_argument, NULL, BUNDLER_FORCE },
    { "progress-fd", required_argument, NULL, BUNDLER_PROGRESS_FD },
    { "output", required_argument, NULL, BUNDLER_OUTPUT },
    { NULL, 0, NULL, 0 },
};

static int run_request(struct bundler *bundler, char **operands, struct im_error *err)
{
    struct im_copy_result result = { 0 };
    char name[1024], size[16];
    int r = bundler_argument(bundler, "manifest", operands[0], err);

    bundler->job.store = strdup(operands[1]);
    if (r == 0 && !im_arg_text(bundler->args, "cert"))
        fputs("imaging-toolkit: warning: without --cert the manifest's signature is not verified\n",
              stderr);
    if (r == 0)
        r = bundler_run(bundler, &result, err);
    if (r == 0 && !bundler->json)
        fprintf(strcmp(operands[1], "-") == 0 ? stderr : stdout, "%s: %" PRIu64 " bytes (%s)\n",
                im_text_printable(name, sizeof(name), operands[1]), result.size,
                im_format_size(size, sizeof(size), result.size));
    return r;
}

static int unbundle(int argc, char **argv, struct im_error *err)
{
    return bundler_command("unbundle", argc, argv, options, run_request, err);
}

const struct im_command im_command_unbundle = {
    .name = "unbundle",
    .summary = "take the image out of an encrypted bundle",
    .help = help,
    .run = unbundle,
};
