/* verify - is a volume still what it was, and is it what was in the image? */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/confined.h"
#include "cmd/verify.h"
#include "core/result.h"

static const char help[] =
    "usage: imaging-toolkit verify [options] VOLUME\n"
    "       imaging-toolkit verify --against IMAGE -f FORMAT [options] VOLUME\n"
    "\n"
    "  imaging-toolkit convert -f vmdk -O raw --digest fs-verity disk.vmdk disk.raw\n"
    "  imaging-toolkit verify disk.raw\n"
    "  imaging-toolkit verify --against disk.vmdk -f vmdk disk.raw\n"
    "\n"
    "Without --against the digests in VOLUME.manifest.json are found again and compared.\n"
    "With it VOLUME, a raw disk, is compared byte by byte with IMAGE as another program reads it:\n"
    "libvhdi for vhd and vhdx, libvmdk for vmdk, qemu-img for all else; after the image's end\n"
    "VOLUME has to be zeros.  A manifest that is there is then checked, too.\n"
    "\n"
    "      --manifest FILE   the manifest, when it is not VOLUME.manifest.json\n"
    "      --against IMAGE   compare with IMAGE: a file, an http(s) URL, manifest:URL-or-PATH\n"
    "  -f, --from FORMAT     what IMAGE is: raw, vmdk, vhd (vpc), vhdx, vdi, qcow2; never guessed\n"
    "      --extents DIR     directory that holds the other files of a split or flat VMDK\n"
    "      --scratch DIR     place for a second copy, which images that are not a local file "
    "need,\n"
    "                        and all that qemu-img reads (default: TMPDIR, else /var/tmp)\n"
    "      --progress-fd N   write progress as JSON Lines to descriptor N\n"
    "      --output FORM     print the result as text (default) or json\n"
    "\n"
    "exit status: 0 all is equal, 8 something differs, 1 failed, 2 usage, 3 volume, manifest or\n"
    "image missing, 4 invalid or refused manifest or image, 5 no space, 6 transient, 7 the other\n"
    "program is not installed, 130 cancelled\n";

enum { OPT_MANIFEST = 256, OPT_AGAINST, OPT_EXTENTS, OPT_SCRATCH, OPT_PROGRESS_FD, OPT_OUTPUT };

static const struct option options[] = {
    { "manifest", required_argument, NULL, OPT_MANIFEST },
    { "against", required_argument, NULL, OPT_AGAINST },
    { "from", required_argument, NULL, 'f' },
    { "extents", required_argument, NULL, OPT_EXTENTS },
    { "scratch", required_argument, NULL, OPT_SCRATCH },
    { "progress-fd", required_argument, NULL, OPT_PROGRESS_FD },
    { "output", required_argument, NULL, OPT_OUTPUT },
    { NULL, 0, NULL, 0 },
};

struct request {
    const char *volume, *manifest, *image;
    const struct im_format *format;
    struct im_open open;
    int progress_fd;
    bool json;
};

static int set_option(int option, struct request *request, struct im_error *err)
{
    switch (option) {
    case OPT_MANIFEST:
        request->manifest = optarg;
        return 0;
    case OPT_AGAINST:
        request->image = optarg;
        return 0;
    case 'f':
        request->format = im_format_find(optarg);
        return request->format ? 0 : im_fail(err, EINVAL, "-f '%s' is not a format", optarg);
    case OPT_EXTENTS:
        request->open.extents = optarg;
        return 0;
    case OPT_SCRATCH:
        request->open.scratch = optarg;
        return 0;
    case OPT_PROGRESS_FD:
        return im_parse_fd(optarg, &request->progress_fd, err);
    case OPT_OUTPUT:
        return im_parse_output(optarg, &request->json, err);
    default:
        return -EINVAL; /* err was filled by im_getopt */
    }
}

static int check_request(struct request *request, int argc, char **argv, struct im_error *err)
{
    if (argc - optind != 1)
        return im_fail(err, EINVAL, "one volume is needed, %d given; see 'verify --help'",
                       argc - optind);
    if (request->image && !request->format)
        return im_fail(err, EINVAL, "-f FORMAT is missing: what is '%s'?", request->image);
    if (!request->image && (request->format || request->open.extents))
        return im_fail(err, EINVAL, "-f and --extents tell of an image; give --against IMAGE");
    request->volume = argv[optind];
    return 0;
}

static int open_volume(const char *path, struct im_volume *volume, struct im_error *err)
{
    struct stat st;
    off_t size;

    volume->name = path;
    volume->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* not to wait for a pipe */
    if (volume->fd < 0 || fstat(volume->fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot open '%s'", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return im_fail(err, EISDIR, "'%s' is neither a file nor a block device", path);
    size = lseek(volume->fd, 0, SEEK_END);
    if (size < 0)
        return im_fail_errno(err, errno, "cannot find the size of '%s'", path);
    volume->size = (uint64_t)size;
    return 0;
}

/* Not for digests alone: nothing of the volume is interpreted then. */
static int confine(const struct request *request, const char *manifest, struct im_error *err)
{
    const struct im_confined_names names = { .source = request->image,
                                             .extents = request->open.extents,
                                             .scratch = request->open.scratch,
                                             .file = manifest };

    return request->image ? im_confined_look(&names, err) : 0;
}

static int check_digests(const struct request *request, const struct im_volume *volume,
                         struct im_progress *progress, json_t *report, struct im_error *err)
{
    char *beside IM_FREE = im_manifest_path(request->volume);
    const char *manifest = request->manifest ? request->manifest : beside;
    int r = beside ? confine(request, manifest, err) : im_fail(err, ENOMEM, "out of memory");

    if (r < 0 || (request->image && !request->manifest && access(beside, F_OK) < 0))
        return r;
    return im_verify_digests(volume, manifest, progress, report, err);
}

static int check(const struct request *request, struct im_progress *progress, json_t *report,
                 struct im_error *err)
{
    struct im_volume volume = { .fd = -1 };
    char name[1024];
    int r = open_volume(request->volume, &volume, err);

    if (r == 0 &&
        json_object_update_new(report, json_pack("{s:s, s:I}", "volume",
                                                 im_text_printable(name, sizeof(name), volume.name),
                                                 "size", (json_int_t)volume.size)) < 0)
        r = im_fail(err, ENOMEM, "out of memory");
    if (r == 0)
        r = check_digests(request, &volume, progress, report, err);
    if (r == 0 && request->image)
        r = im_verify_against(&volume, request->image, request->format, &request->open, progress,
                              report, err);
    if (volume.fd >= 0)
        (void)close(volume.fd);
    return r;
}

static void print_text(json_t *report)
{
    const json_t *against = json_object_get(report, "against");
    const char *name;
    json_t *value;

    json_object_foreach(json_object_get(report, "digests"), name, value)
        printf("%s: %s, as in the manifest\n", name, json_string_value(value));
    if (against)
        printf("identical: %" JSON_INTEGER_FORMAT " bytes, read by %s\n",
               json_integer_value(json_object_get(against, "identical_bytes")),
               json_string_value(json_object_get(against, "reader")));
}

static int run_request(const struct request *request, struct im_error *err)
{
    struct im_progress *progress = im_progress_new(request->progress_fd);
    json_t *report = json_object();
    char *json IM_FREE = NULL;
    int r;

    r = progress && report ? check(request, progress, report, err)
                           : im_fail(err, ENOMEM, "out of memory");
    if (r == 0) {
        json = json_dumps(report, JSON_PRESERVE_ORDER);
        if (!json || im_json_lost())
            r = im_fail_memory(err);
    }
    if (progress && r < 0)
        im_progress_error(progress, err);
    else if (progress)
        im_progress_result(progress, json);
    im_progress_free(progress);
    if (r == 0 && request->json)
        puts(json);
    else if (r == 0)
        print_text(report);
    json_decref(report);
    return r;
}

static int verify(int argc, char **argv, struct im_error *err)
{
    struct request request = { .open = { .max_size = UINT64_MAX }, .progress_fd = -1 };
    int r = 0;
    int c;

    request.open.scratch = im_scratch_default();
    while (r == 0 && (c = im_getopt(argc, argv, ":f:", options, err)) != -1)
        r = set_option(c, &request, err);
    if (r == 0)
        r = check_request(&request, argc, argv, err);
    if (r == 0)
        r = run_request(&request, err);
    return r < 0 ? (int)im_error_status(err) : 0;
}

const struct im_command im_command_verify = {
    .name = "verify",
    .summary = "compare a volume with its digests, or with its image",
    .help = help,
    .run = verify,
};
