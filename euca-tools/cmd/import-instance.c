/* euca-import-instance - import the disks of a machine, the one it boots from first, and launch
 * it. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crypto.h"

#include "command.h"
#include "file.h"
#include "import.h"

/* Bytes of user data: EC2's limit before base64. */
#define USER_DATA_MAX 16384

struct own {
    const char *instance_type;
    const char *architecture;
    const char *platform;
    const char *group;
    const char *user_data;
    const char *user_data_file;
    const char *subnet;
    const char *private_ip_address;
    const char *shutdown_behavior;
    const char *key;
    bool monitor;
    char *encoded; /* user data in base64; owned */
};

static const struct euca_option own_options[] = {
    EUCA_TEXT(own, instance_type, "instance-type", 't'),
    EUCA_TEXT(own, architecture, "architecture", 'a'),
    EUCA_TEXT(own, platform, "platform", 'p'),
    EUCA_TEXT(own, group, "group", 'g'),
    EUCA_TEXT(own, user_data, "user-data", '\0'),
    EUCA_TEXT(own, user_data_file, "user-data-file", '\0'),
    EUCA_TEXT(own, subnet, "subnet", '\0'),
    EUCA_TEXT(own, private_ip_address, "private-ip-address", '\0'),
    EUCA_TEXT(own, shutdown_behavior, "instance-initiated-shutdown-behavior", '\0'),
    EUCA_TEXT(own, key, "key", '\0'),
    EUCA_FLAG(own, monitor, "monitor", '\0'),
    { 0 },
};

static void own_done(struct own *own)
{
    free(own->encoded);
}

static int check_required(const struct own *own, struct im_error *err)
{
    const struct {
        const char *value, *option;
    } required[] = {
        { own->instance_type, "-t/--instance-type" },
        { own->architecture, "-a/--architecture" },
        { own->platform, "-p/--platform" },
    };

    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++)
        if (!required[i].value || !*required[i].value)
            return euca_usage(err, "argument %s is required", required[i].option);
    return 0;
}

/* One of two words, in exactly this case. */
static int check_choice(const char *option, const char *value, const char *a, const char *b,
                        struct im_error *err)
{
    if (!value || strcmp(value, a) == 0 || strcmp(value, b) == 0)
        return 0;
    return euca_usage(err, "argument %s: invalid choice: '%s' (choose from '%s', '%s')", option,
                      value, a, b);
}

static int encode(struct own *own, const char *data, size_t len, struct im_error *err)
{
    if (len > USER_DATA_MAX)
        return im_fail(err, EFBIG, "user data of %zu bytes are too large; the limit is %d", len,
                       USER_DATA_MAX);
    own->encoded = malloc(4 * ((len + 2) / 3) + 1);
    if (!own->encoded)
        return im_fail_memory(err);
    im_base64(data, len, own->encoded);
    return 0;
}

/* Standard input to its end, one byte more than is allowed at most. */
static int read_standard_input(struct own *own, struct im_error *err)
{
    char data[USER_DATA_MAX + 1];
    size_t len = 0;

    while (len < sizeof(data)) {
        ssize_t n = read(STDIN_FILENO, data + len, sizeof(data) - len);

        if (n < 0)
            return im_fail_errno(err, errno, "cannot read user data from standard input");
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return encode(own, data, len, err);
}

static int read_user_data(struct own *own, struct im_error *err)
{
    char *data IM_FREE = NULL;
    size_t len;
    int r;

    if (own->user_data)
        return encode(own, own->user_data, strlen(own->user_data), err);
    if (!own->user_data_file)
        return 0;
    if (strcmp(own->user_data_file, "-") == 0)
        return read_standard_input(own, err);
    r = euca_read_file(own->user_data_file, USER_DATA_MAX, &data, &len, err);
    return r < 0 ? r : encode(own, data, len, err);
}

static int check(const struct euca_import_options *shared, void *values, struct im_error *err)
{
    struct own *own = values;
    int r = check_required(own, err);

    (void)shared;
    if (r == 0)
        r = check_choice("-p/--platform", own->platform, "Windows", "Linux", err);
    if (r == 0)
        r = check_choice("--instance-initiated-shutdown-behavior", own->shutdown_behavior, "stop",
                         "terminate", err);
    if (r == 0 && own->user_data && own->user_data_file)
        r = euca_usage(err, "argument --user-data-file: not allowed with argument --user-data");
    return r < 0 ? r : read_user_data(own, err);
}

#define SPECIFICATION "LaunchSpecification."

static void add(const struct euca_import_options *shared, const void *values,
                struct euca_form *form)
{
    const struct own *own = values;

    euca_form_add(form, own->platform, "Platform");
    euca_form_add(form, own->instance_type, SPECIFICATION "InstanceType");
    euca_form_add(form, own->architecture, SPECIFICATION "Architecture");
    euca_form_add(form, own->monitor ? "true" : "false", SPECIFICATION "Monitoring.Enabled");
    euca_form_add(form, own->group, SPECIFICATION "GroupName.1");
    euca_form_add(form, shared->zone, SPECIFICATION "Placement.AvailabilityZone");
    euca_form_add(form, own->encoded, SPECIFICATION "UserData.Data");
    euca_form_add(form, own->subnet, SPECIFICATION "SubnetId");
    euca_form_add(form, own->private_ip_address, SPECIFICATION "PrivateIpAddress");
    euca_form_add(form, own->shutdown_behavior, SPECIFICATION "InstanceInitiatedShutdownBehavior");
    euca_form_add(form, own->key, SPECIFICATION "KeyName");
}

static int run(const char *program, const struct euca_command *command, int argc, char **argv,
               struct im_error *err)
{
    struct own own IM_CLEANUP(own_done) = { 0 };
    const struct euca_import_kind kind = { .action = "ImportInstance",
                                           .numbered = true,
                                           .options = own_options,
                                           .values = &own,
                                           .check = check,
                                           .add = add };

    return euca_import(program, command, &kind, argc, argv, err);
}

const struct euca_command euca_command_import_instance = {
    .name = "import-instance",
    .usage = "-f FORMAT -t TYPE -a ARCH -p {Windows,Linux}\n"
             "       (-b BUCKET | --manifest-url URL) [options] FILE [FILE ...]",
    .help = "Examples:\n"
            "  euca-import-instance -f vmdk -t m1.small -a x86_64 -p Linux -b vms web.vmdk\n"
            "  euca-import-instance -f raw -t m1.small -a x86_64 -p Linux -b vms os.img a.img\n"
            "Import a machine's disks; it boots from the first.  -f, -s: once or for each.\n"
            "  -f, --format FORMAT, -t, --instance-type TYPE, -a, --architecture ARCH\n"
            "  -p, --platform {Windows,Linux}, -z, --availability-zone ZONE, --key NAME\n"
            "  -g, --group GROUP, --subnet ID, --private-ip-address ADDRESS, --monitor\n"
            "      --user-data DATA, --user-data-file FILE (- is standard input)\n"
            "      --instance-initiated-shutdown-behavior {stop,terminate}\n" EUCA_IMPORT_HELP,
    .run = run,
};
