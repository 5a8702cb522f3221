/* gc - `imaging-service gc`: arguments in, a line for each leftover out. */

#include <config.h>

#include "cmd/gc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/place.h"
#include "cmd/rows.h"
#include "directories.h"
#include "dispatch/leftovers.h"

static const char usage[] =
    "Examples:\n"
    "  imaging-service gc --standalone DIR --dry-run\n"
    "  imaging-service gc --config FILE\n"
    "\n"
    "Usage: imaging-service gc --standalone DIR|--config FILE [OPTION]...\n"
    "Remove what conversions left on disk whose service died: part files in the\n"
    "volume pool and scratch directories.  Only what the task table says was made by\n"
    "a claim that is over is removed; what a conversion goes on with stays, and so\n"
    "does every file that is not in the table.  Services do the same when they start\n"
    "and every ten minutes; they may run.  Scratch is on each service's own disk: run\n"
    "it there, and with the settings of the service that is gone.\n"
    "  --dry-run        tell what would be removed, and remove nothing\n"
    "  --output text|json, --help\n"
    "Prints a line for each file and directory: task, disk, claim, bytes on the\n"
    "disk, path, between tabs; then a line: total, how many, bytes.\n"
    "Exit status: 0 done, also when there was nothing; 1 failed, or something could\n"
    "not be removed; 2 wrong usage.\n";

struct options {
    struct place place;
    bool dry_run;
};

struct cleaning {
    const struct options *options;
    json_t *rows; /* NULL when lines are printed instead */
    uint64_t count, bytes, stay;
};

static int tell(void *arg, const struct leftover *leftover)
{
    struct cleaning *cleaning = arg;
    json_t *row JSON_DONE = NULL;

    if (leftover->stays) { /* the log says which and why */
        cleaning->stay++;
        return 0;
    }
    cleaning->count++;
    cleaning->bytes += leftover->bytes;
    row =
        json_pack("{s:o, s:I, s:I, s:I, s:o}", "task", rows_text(leftover->thing->task_id), "disk",
                  (json_int_t)leftover->thing->number, "claim", (json_int_t)leftover->thing->epoch,
                  "bytes", (json_int_t)leftover->bytes, "path", rows_text(leftover->path));
    if (!row)
        return -ENOMEM;
    if (cleaning->rows)
        return json_array_append(cleaning->rows, row) < 0 ? -ENOMEM : 0;
    rows_print_line(row);
    return 0;
}

static int print_total(struct cleaning *cleaning, struct im_error *err)
{
    json_t *all JSON_DONE = NULL;

    if (!cleaning->rows) {
        (void)printf("total\t%" PRIu64 "\t%" PRIu64 "\n", cleaning->count, cleaning->bytes);
        return rows_flush(err);
    }
    all = json_pack("{s:b, s:O, s:I, s:I}", "dry_run", cleaning->options->dry_run, "leftovers",
                    cleaning->rows, "count", (json_int_t)cleaning->count, "bytes",
                    (json_int_t)cleaning->bytes);
    return rows_print_json(all, err);
}

/* A directory that is not there would look as if nothing were left over. */
static const char cure[] = "mount it, or see whether these are the settings of the service";

static int clean(const struct svc_conf *conf, struct task_table *table,
                 const struct options *options, struct im_error *err)
{
    json_t *rows JSON_DONE = options->place.json ? json_array() : NULL;
    struct cleaning cleaning = { .options = options, .rows = rows };
    int r = svc_directory_need(conf->volumes_dir, cure, err);

    if (r == 0)
        r = svc_directory_need(conf->scratch_dir, cure, err);
    if (r == 0)
        r = leftovers_clean(conf, table, options->dry_run, tell, &cleaning, err);
    if (r == 0)
        r = print_total(&cleaning, err);
    if (r == 0 && cleaning.stay > 0)
        return im_fail(err, EIO,
                       "%" PRIu64 " files or directories could not be removed; the lines above say "
                       "why",
                       cleaning.stay);
    return r;
}

static int run(const struct options *options, struct im_error *err)
{
    struct task_table *table = NULL;
    struct svc_conf conf = { 0 };
    int r = place_open(&options->place, &conf, &table, err);

    if (r == 0)
        r = clean(&conf, table, options, err);
    (void)task_table_close(table);
    svc_conf_done(&conf);
    return r;
}

static int take_option(void *arg, int option, const char *value, struct im_error *err)
{
    struct options *options = arg;

    if (option != 'n')
        return place_take(&options->place, option, value, "gc", usage, err);
    options->dry_run = true;
    return 0;
}

static int parse(int argc, char **argv, struct options *options, struct im_error *err)
{
    static const struct option known[] = { PLACE_OPTIONS,
                                           { "dry-run", no_argument, NULL, 'n' },
                                           { 0 } };
    int r = place_parse(argc, argv, known, take_option, options, err);

    if (r == 0 && optind < argc)
        return im_fail(err, EINVAL, "'%.80s' is one argument too many", argv[optind]);
    return r != 0 ? r : place_check(&options->place, err);
}

int svc_gc_command(int argc, char **argv)
{
    struct options options = { 0 };
    struct im_error err = { 0 };
    int r = parse(argc, argv, &options, &err);
    bool understood = r == 0;

    if (r == 0)
        r = run(&options, &err);
    return place_status(r, understood, &err);
}
