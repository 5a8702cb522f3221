/* bundle - write an image as an encrypted, signed bundle. */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cmd/bundler.h"

static const char help[] =
    "usage: imaging-toolkit bundle --key KEY --cert CERT --cloud-cert CERT --prefix PREFIX\n"
    "                              [options] IN DIR\n"
    "\n"
    "  imaging-toolkit bundle --key pk.pem --cert cert.pem --cloud-cert cloud.pem --prefix web \\\n"
    "                         --user 123456789012 web.raw bundles/\n"
    "\n"
    "IN is a file, an http(s) URL, or manifest:URL-or-PATH.  DIR gets PREFIX.part.NN and, when "
    "all\n"
    "of them are whole, PREFIX.manifest.xml.\n"
    "\n"
    "      --key KEY         the user's private RSA key, which signs: a PEM file without a "
    "passphrase\n"
    "      --cert CERT       the user's certificate, a PEM file\n"
    "      --cloud-cert CERT the certificate of the cloud that is to read it, a PEM file\n"
    "      --prefix PREFIX   what the names begin with\n"
    "  -f, --from FORMAT     what IN is: raw (default), vmdk, vhd (vpc), vhdx, vdi, qcow2\n"
    "      --arch ARCH       i386, x86_64 (default) or arm64\n"
    "      --user ACCOUNT    account the bundle belongs to\n"
    "      --kernel ID       kernel and ramdisk that the image starts with\n"
    "      --ramdisk ID\n"
    "      --part-size SIZE  bytes of a part, 1K to 32M (10M)\n"
    "      --force           replace a bundle that is there\n"
    "      --progress-fd N   write progress as JSON Lines to descriptor N\n"
    "      --output FORM     print the result as text (default) or json\n"
    "\n"
    "exit status: as of 'imaging-toolkit convert'\n";

static const struct option options[] = {
    { "key", required_argument, NULL, BUNDLER_ARGUMENT + 0 },
    { "cert", required_argument, NULL, BUNDLER_ARGUMENT + 1 },
    { "cloud-cert", required_argument, NULL, BUNDLER_ARGUMENT + 2 },
    { "prefix", required_argument, NULL, BUNDLER_ARGUMENT + 3 },
    { "from", required_argument, NULL, 'f' },
    { "arch", required_argument, NULL, BUNDLER_ARGUMENT + 5 },
    { "user", required_argument, NULL, BUNDLER_ARGUMENT + 6 },
    { "kernel", required_argument, NULL, BUNDLER_ARGUMENT + 7 },
    { "ramdisk", required_argument, NULL, BUNDLER_ARGUMENT + 8 },
    { "part-size", required_argument, NULL, BUNDLER_ARGUMENT + 9 },
    { "force", no_argument, NULL, BUNDLER_FORCE },
    { "progress-fd", required_argument, NULL, BUNDLER_PROGRESS_FD },
    { "output", required_argument, NULL, BUNDLER_OUTPUT },
    { NULL, 0, NULL, 0 },
};

static int run_request(struct bundler *bundler, char **operands, struct im_error *err)
{
    struct im_copy_result result = { 0 };
    char dir[1024], size[16];
    int r = bundler_argument(bundler, "to", operands[1], err);

    if (r == 0 && bundler->job.force)
        r = bundler_argument(bundler, "force", "yes", err);
    bundler->job.source = strdup(operands[0]);
    if (r == 0)
        r = bundler_run(bundler, &result, err);
    if (r == 0 && !bundler->json)
        printf("%s/%s.manifest.xml: %" PRIu64 " bytes (%s)\n",
               im_text_printable(dir, sizeof(dir), operands[1]),
               im_arg_text(bundler->args, "prefix"), result.size,
               im_format_size(size, sizeof(size), result.size));
    return r;
}

static int bundle(int argc, char **argv, struct im_error *err)
{
    return bundler_command("bundle", argc, argv, options, run_request, err);
}

const struct im_command im_command_bundle = {
    .name = "bundle",
    .summary = "write an image as an encrypted, signed bundle",
    .help = help,
    .run = bundle,
};
