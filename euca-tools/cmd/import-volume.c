/* euca-import-volume - import a file to a volume. */

#include <config.h>

#include <stddef.h>

#include "command.h"
#include "import.h"

static const struct euca_option no_options[] = { { 0 } };

static int check(const struct euca_import_options *shared, void *values, struct im_error *err)
{
    (void)values;
    if (!shared->zone || !*shared->zone)
        return euca_usage(err, "argument -z/--availability-zone is required");
    return 0;
}

static void add(const struct euca_import_options *shared, const void *values,
                struct euca_form *form)
{
    (void)values;
    euca_form_add(form, shared->zone, "AvailabilityZone");
}

static int run(const char *program, const struct euca_command *command, int argc, char **argv,
               struct im_error *err)
{
    const struct euca_import_kind kind = {
        .action = "ImportVolume", .options = no_options, .check = check, .add = add
    };

    return euca_import(program, command, &kind, argc, argv, err);
}

const struct euca_command euca_command_import_volume = {
    .name = "import-volume",
    .usage = "-f FORMAT -z ZONE\n"
             "       (-b BUCKET | --manifest-url URL) [options] FILE",
    .help = "Examples:\n"
            "  euca-import-volume -f vmdk -z zone-a -b images disk.vmdk\n"
            "  euca-import-volume -f raw -z zone-a -b images -s 20 --wait data.img\n"
            "Make an import task, upload FILE in parts, print the task.\n"
            "\n"
            "  -f, --format FORMAT       raw, vmdk (stream-optimized) or vhd\n"
            "  -z, --availability-zone ZONE\n" EUCA_IMPORT_HELP,
    .run = run,
};
