/* convert - turn an image into a raw disk, or a disk into an image. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/confined.h"
#include "cmd/packed.h"
#include "cmd/request.h"
#include "core/job.h"

static const char help[] =
    "usage: imaging-toolkit convert -f FORMAT -O FORMAT [options] IN OUT\n"
    "\n"
    "  imaging-toolkit convert -f vmdk -O raw disk.vmdk disk.raw\n"
    "  curl -s https://example.com/disk.vhd | imaging-toolkit convert -f vhd -O raw - disk.raw\n"
    "  imaging-toolkit convert -f raw -O raw manifest:https://example.com/d.manifest.xml disk.raw\n"
    "\n"
    "IN is a file, '-' (standard input), an http(s) URL, or manifest:URL-or-PATH.\n"
    "OUT is a file, written sparse and there only when it is whole, or '-'.\n"
    "\n"
    "  -f, --from FORMAT     what IN is: raw, vmdk, vhd (vpc), vhdx, vdi, qcow2; never guessed.\n"
    "                        Packed: FORMAT.gz, FORMAT.xz, FORMAT.zip, FORMAT.ova; ova is "
    "vmdk.ova\n"
    "      --disk N|FILE     which disk of an OVA (default: the first) or file of a zip\n"
    "  -O, --to FORMAT       what OUT becomes: raw, vmdk (stream-optimized), vhd, qcow2\n"
    "      --subformat NAME  of vhd: dynamic (default) or fixed\n"
    "      --level LEVEL     how hard vmdk is compressed: fast (default) or best\n"
    "      --round-up SIZE   enlarge the disk to a multiple of SIZE (Azure wants 1M for vhd)\n"
    "      --digest LIST     find fs-verity, sha256 or both (with a comma) of OUT and write them "
    "to\n"
    "                        OUT.manifest.json, for 'imaging-toolkit verify OUT'\n"
    "      --extents DIR     directory that holds the other files of a split or flat VMDK\n"
    "      --no-sync         do not wait until OUT has reached the disk\n"
    "      --max-size SIZE   refuse a disk larger than SIZE (bytes, or 10G)\n"
    "      --force           replace OUT when it exists\n"
    "      --resume          when interrupted (a signal, the network, a crash), leave what was "
    "done\n"
    "                        in OUT.partial and OUT.journal, and go on from what was left there;\n"
    "                        of manifest: and http(s), in raw, vmdk, vhd and vhdx, to -O raw\n"
    "      --scratch DIR     place for a second copy, which only qcow2 and vdi need\n"
    "                        (default: TMPDIR, else /var/tmp)\n"
    "                        (see 'imaging-toolkit cache' for limits of it)\n"
    "      --jobs N          threads that inflate, compress or hash, 1 to 8 (default: one per "
    "core)\n"
    "      --io-rate SIZE    read and write at most SIZE bytes per second, 64K or more\n"
    "      --progress-fd N   write progress as JSON Lines to descriptor N\n"
    "      --output FORM     print the result as text (default) or json\n"
    "\n"
    "exit status: 0 done, 1 failed, 2 usage, 3 input missing, 4 invalid or refused image,\n"
    "5 no space or over a limit, 6 transient, 7 dependency missing, 130 cancelled\n";

enum {
    OPT_MAX_SIZE = 256,
    OPT_SUBFORMAT,
    OPT_LEVEL,
    OPT_ROUND_UP,
    OPT_DIGEST,
    OPT_EXTENTS,
    OPT_NO_SYNC,
    OPT_FORCE,
    OPT_RESUME,
    OPT_DISK,
    OPT_SCRATCH,
    OPT_JOBS,
    OPT_IO_RATE,
    OPT_PROGRESS_FD,
    OPT_OUTPUT
};

static const struct option options[] = {
    { "from", required_argument, NULL, 'f' },
    { "to", required_argument, NULL, 'O' },
    { "max-size", required_argument, NULL, OPT_MAX_SIZE },
    { "subformat", required_argument, NULL, OPT_SUBFORMAT },
    { "level", required_argument, NULL, OPT_LEVEL },
    { "round-up", required_argument, NULL, OPT_ROUND_UP },
    { "digest", required_argument, NULL, OPT_DIGEST },
    { "extents", required_argument, NULL, OPT_EXTENTS },
    { "no-sync", no_argument, NULL, OPT_NO_SYNC },
    { "force", no_argument, NULL, OPT_FORCE },
    { "resume", no_argument, NULL, OPT_RESUME },
    { "disk", required_argument, NULL, OPT_DISK },
    { "scratch", required_argument, NULL, OPT_SCRATCH },
    { "jobs", required_argument, NULL, OPT_JOBS },
    { "io-rate", required_argument, NULL, OPT_IO_RATE },
    { "progress-fd", required_argument, NULL, OPT_PROGRESS_FD },
    { "output", required_argument, NULL, OPT_OUTPUT },
    { NULL, 0, NULL, 0 },
};

struct request {
    struct im_job job;
    const char *to, *subformat, *disk;
    enum im_packing packing;
    int progress_fd;
    bool json;
};

static int set_text(char **to, const char *text, struct im_error *err)
{
    free(*to);
    *to = strdup(text);
    return *to ? 0 : im_fail(err, ENOMEM, "out of memory");
}

static int set_option(int option, struct request *request, struct im_error *err)
{
    struct im_job *job = &request->job;

    switch (option) {
    case 'f':
        return im_packed_parse(optarg, &job->format, &request->packing, err);
    case 'O':
        request->to = optarg;
        return 0;
    case OPT_MAX_SIZE:
        if (im_parse_size(optarg, &job->max_size) < 0)
            return im_fail(err, EINVAL, "--max-size '%s' is not a size like 4096 or 10G", optarg);
        return 0;
    case OPT_SUBFORMAT:
        request->subformat = optarg;
        return 0;
    case OPT_LEVEL:
        return im_level_parse(optarg, &job->level, err);
    case OPT_ROUND_UP:
        if (im_parse_size(optarg, &job->round_up) < 0 || job->round_up == 0)
            return im_fail(err, EINVAL, "--round-up '%s' is not a size like 512 or 1M", optarg);
        return 0;
    case OPT_DIGEST:
        return im_digest_parse(optarg, &job->digests, err);
    case OPT_EXTENTS:
        return set_text(&job->extents, optarg, err);
    case OPT_NO_SYNC:
        job->no_sync = true;
        return 0;
    case OPT_FORCE:
        job->force = true;
        return 0;
    case OPT_RESUME:
        job->resume = true;
        return 0;
    case OPT_DISK:
        request->disk = optarg;
        return 0;
    case OPT_SCRATCH:
        return set_text(&job->scratch, optarg, err);
    case OPT_JOBS:
        return im_parse_jobs(optarg, &job->jobs, err);
    case OPT_IO_RATE:
        return im_parse_rate(optarg, &job->io_rate, err);
    case OPT_PROGRESS_FD:
        return im_parse_fd(optarg, &request->progress_fd, err);
    case OPT_OUTPUT:
        return im_parse_output(optarg, &request->json, err);
    default:
        return -EINVAL; /* err was filled by im_getopt */
    }
}

/* What IN looks like, as advice for somebody who left -f out. */
static int advise_format(const char *in, struct im_error *err)
{
    const struct im_confined_names names = { .source = in };
    const struct im_format *format = NULL;
    enum im_packing packing = IM_PACKING_NONE;
    struct im_source *source = NULL;
    int r = im_confined_look(&names, err);

    if (r < 0)
        return r;
    if (strcmp(in, "-") != 0 && im_source_open(in, &source, NULL) == 0) {
        (void)im_format_probe(source, &format, NULL);
        (void)im_packing_probe(source, &packing, NULL);
    }
    im_source_close(source);
    if (!format)
        return im_fail(err, EINVAL, "-f FORMAT is missing: what is '%s'?", in);
    if (packing != IM_PACKING_NONE && strcmp(format->name, "raw") == 0)
        return im_fail(err, EINVAL,
                       "-f FORMAT is missing; '%s' looks packed (-f FORMAT.%s; see "
                       "'imaging-toolkit info')",
                       in, im_packing_name(packing));
    return im_fail(err, EINVAL, "-f FORMAT is missing; '%s' looks like %s", in, format->name);
}

static int check_request(struct request *request, int argc, char **argv, struct im_error *err)
{
    int r;

    if (argc - optind != 2)
        return im_fail(err, EINVAL, "IN and OUT are needed, %d given; see 'convert --help'",
                       argc - optind);
    if (!request->job.format)
        return advise_format(argv[optind], err);
    if (!request->to)
        return im_fail(err, EINVAL, "-O FORMAT is missing; give -O raw, vmdk, vhd or qcow2");
    r = im_job_set_output(&request->job, request->to, request->subformat, err);
    if (r == 0)
        r = im_packed_add(&request->job, request->packing, request->disk, err);
    if (r == 0)
        r = set_text(&request->job.source, argv[optind], err);
    return r < 0 ? r : set_text(&request->job.store, argv[optind + 1], err);
}

static void print_result(const struct request *request, const struct im_copy_result *result,
                         const char *json)
{
    char size[16], data[16], shared[16], scratch[16], name[1024];
    FILE *to = strcmp(request->job.store, "-") == 0 ? stderr : stdout;

    if (request->json) {
        fprintf(to, "%s\n", json);
        return;
    }
    fprintf(to, "%s: %" PRIu64 " bytes (%s), %s of data, %s shared, %s peak scratch\n",
            im_text_printable(name, sizeof(name), request->job.store), result->size,
            im_format_size(size, sizeof(size), result->size),
            im_format_size(data, sizeof(data), result->data_bytes),
            im_format_size(shared, sizeof(shared), result->shared_bytes),
            im_format_size(scratch, sizeof(scratch), result->scratch_bytes));
}

static int run_request(struct request *request, struct im_error *err)
{
    struct im_progress *progress = im_progress_new(request->progress_fd);
    struct im_copy_result result = { 0 };
    char *json IM_FREE = NULL;
    char name[1024];
    int r;

    if (!progress)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_confined(&request->job, err);
    if (r == 0)
        r = im_plan_check(&request->job, &result, err);
    if (r == 0)
        r = im_job_run(&request->job, progress, &result, err);
    if (r == 0)
        r = im_job_result_json(&request->job, &result, &json, err);
    if (r < 0)
        im_progress_error(progress, err);
    else
        im_progress_result(progress, json);
    im_progress_free(progress);
    if (r == 0)
        print_result(request, &result, json);
    else if (result.kept)
        fprintf(stderr, "%s.partial holds what was done: the same command goes on from there\n",
                im_text_printable(name, sizeof(name), request->job.store));
    return r;
}

static int convert(int argc, char **argv, struct im_error *err)
{
    struct request request = { .job = { .max_size = UINT64_MAX }, .progress_fd = -1 };
    int r = 0;
    int c;

    while (r == 0 && (c = im_getopt(argc, argv, ":f:O:", options, err)) != -1)
        r = set_option(c, &request, err);
    if (r == 0)
        r = check_request(&request, argc, argv, err);
    if (r == 0)
        r = run_request(&request, err);
    im_job_done(&request.job);
    return r < 0 ? (int)im_error_status(err) : 0;
}

const struct im_command im_command_convert = {
    .name = "convert",
    .summary = "turn an image into a raw disk, or into another kind of image",
    .help = help,
    .run = convert,
};
