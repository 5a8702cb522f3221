/* boot-test - does this disk start?
 *
 * It is started in QEMU, without a network, on an overlay that takes what the guest writes: the
 * disk itself is only ever read.  The serial console tells how far the guest comes.  Whether its
 * services work is not asked.  Guests that print nothing there (Windows, and Linux without
 * console=ttyS0) show no more than their boot loader. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "box/qemu-img.h"
#include "box/qemu-system.h"
#include "cache/scratch.h"
#include "core/stage.h"
#include "guest/as-file.h"
#include "stage/serial-watch.h"

/* In seconds: login comes after 20 to 30 without KVM on an idle machine; nothing takes a day. */
#define TIMEOUT_DEFAULT 120u
#define TIMEOUT_MAX     86400u
/* The smallest Debian starts in less; beyond this lies a server's. */
#define MEMORY_DEFAULT (512ull << 20)
#define MEMORY_MIN     (64ull << 20)
#define MEMORY_MAX     (16ull << 30)
/* A first start that grows its file system and makes its keys writes some tens of MiB. */
#define OVERLAY_DEFAULT (256ull << 20)
#define OVERLAY_MIN     (1ull << 20)
#define SECTOR          512u
/* Times the firmware may begin: guests restart after their first steps, but not for ever. */
#define STARTS_MAX 4u
/* Of the console, in a finding. */
#define SHOWN_MAX 160

#define CODE "BootTestFailed"
/* AWS's sentence where the firmware finds nothing to start. */
#define NO_BOOT "No bootable partition found."
#define CURE_LOADER                                                                                \
    "install a boot loader for this firmware, or name the right firmware (firmware=bios or uefi)"
#define CURE_SERIAL                                                                                \
    "if it starts elsewhere, let its kernel print on the serial console (console=ttyS0), or give " \
    "it more time (timeout=SECONDS)"
#define CURE_GUEST "start the disk where it was made, and repair what the console tells of"

struct wishes {
    const char *marker; /* NULL: none */
    const char *firmware, *bus;
    const char *accel;
    enum watch_milestone until;
    uint64_t timeout_s, memory, overlay;
};

static const char *const firmwares[] = { "auto", "bios", "uefi", NULL };
static const char *const buses[] = { "virtio", "ide", "nvme", NULL };
static const char *const accels[] = { "auto", "kvm", "emulation", NULL };
static const char *const untils[] = { "boot-loader", "kernel", "root", "init",
                                      "login",       "marker", NULL };

/* ---- arguments ---- */

static const char *choice(const struct im_args *args, const char *name, const char *otherwise)
{
    const char *text = im_arg_text(args, name);

    return text ? text : otherwise;
}

static enum watch_milestone until_of(const char *name)
{
    int i = 0;

    while (untils[i] && strcmp(untils[i], name) != 0)
        i++;
    return (enum watch_milestone)(WATCH_BOOT_LOADER + i);
}

static int check_range(const char *name, uint64_t value, uint64_t least, uint64_t most,
                       struct im_error *err)
{
    if (value >= least && value <= most)
        return 0;
    return im_fail(err, EINVAL, "boot-test: %s=%" PRIu64 " is not between %" PRIu64 " and %" PRIu64,
                   name, value, least, most);
}

static int check_marker(const struct wishes *wishes, struct im_error *err)
{
    if (wishes->until == WATCH_MARKER && !wishes->marker)
        return im_fail(err, EINVAL, "boot-test: until=marker needs marker=TEXT");
    if (!wishes->marker)
        return 0;
    for (const char *p = wishes->marker; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return im_fail(err, EINVAL,
                           "boot-test: the marker holds a control character; it is "
                           "looked for in single lines");
    if (strlen(wishes->marker) > WATCH_MARKER_MAX)
        return im_fail(err, EINVAL, "boot-test: the marker has %zu bytes, more than %d",
                       strlen(wishes->marker), WATCH_MARKER_MAX);
    return 0;
}

static int read_wishes(const struct im_args *args, struct wishes *ret_wishes, struct im_error *err)
{
    const char *marker = im_arg_text(args, "marker");
    struct wishes wishes = {
        .marker = marker,
        .firmware = choice(args, "firmware", "auto"),
        .bus = choice(args, "disk-bus", "virtio"),
        .accel = choice(args, "accel", "auto"),
        .until = until_of(choice(args, "until", marker ? "marker" : "login")),
        .timeout_s = im_arg_number(args, "timeout", TIMEOUT_DEFAULT),
        .memory = im_arg_number(args, "memory", MEMORY_DEFAULT),
        .overlay = im_arg_number(args, "overlay", OVERLAY_DEFAULT),
    };
    int r = check_range("timeout", wishes.timeout_s, 1, TIMEOUT_MAX, err);

    if (r == 0)
        r = check_range("memory", wishes.memory, MEMORY_MIN, MEMORY_MAX, err);
    if (r == 0)
        r = check_range("overlay", wishes.overlay, OVERLAY_MIN, UINT64_MAX, err);
    if (r == 0)
        r = check_marker(&wishes, err);
    wishes.memory &= ~((UINT64_C(1) << 20) - 1);
    if (r == 0)
        *ret_wishes = wishes;
    return r;
}

static int accepts(const struct im_args *args, const struct im_context *context,
                   const struct im_input *input, struct im_error *err)
{
    struct wishes wishes;

    (void)context;
    (void)input;
    return read_wishes(args, &wishes, err);
}

static int required_capacity(const struct im_args *args, const struct im_context *context,
                             const struct im_input *input, uint64_t *ret_bytes,
                             struct im_error *err)
{
    struct wishes wishes;
    uint64_t copy = 0;
    int r = read_wishes(args, &wishes, err);

    if (r == 0)
        r = im_look_capacity(args, context, input, &copy, err);
    if (r == 0 && __builtin_add_overflow(wishes.overlay, copy, ret_bytes))
        r = im_fail(err, EFBIG, "boot-test: overlay=%" PRIu64 " is too large", wishes.overlay);
    return r;
}

/* ---- the machine ---- */

/* What the partition tables are for, where nobody has looked yet; a disk without them is started
 * by its first sector. */
static int find_firmware(const struct wishes *wishes, struct im_look *look,
                         enum im_firmware *ret_firmware, struct im_error *err)
{
    const char *mode = look->report->boot_mode;
    struct im_report *report IM_FREE = NULL;
    struct im_look own = *look;
    int r = 0;

    if (strcmp(wishes->firmware, "auto") != 0) {
        *ret_firmware = strcmp(wishes->firmware, "uefi") == 0 ? IM_FIRMWARE_UEFI : IM_FIRMWARE_BIOS;
        return 0;
    }
    if (!mode) {
        own.report = report = calloc(1, sizeof(*report));
        if (!report)
            return im_fail(err, ENOMEM, "out of memory");
        r = im_stage_find("boot-layout")->look(&(struct im_args){ 0 }, &own, err);
        mode = report->boot_mode;
    }
    if (r == 0)
        *ret_firmware = mode && strcmp(mode, "uefi") == 0 ? IM_FIRMWARE_UEFI : IM_FIRMWARE_BIOS;
    return r;
}

/* The descriptor for the machine: whatever happens in there, it cannot write through it. */
static int open_read_only(int fd, struct im_error *err)
{
    char path[32];
    int own;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    own = open(path, O_RDONLY | O_CLOEXEC);
    return own >= 0 ? own : im_fail_errno(err, errno, "cannot open the disk again to read it");
}

static int choose_accel(const struct wishes *wishes, bool *ret_kvm, struct im_error *err)
{
    bool wanted = strcmp(wishes->accel, "kvm") == 0;

    *ret_kvm = strcmp(wishes->accel, "emulation") != 0 && im_machine_has_kvm();
    if (wanted && !*ret_kvm)
        return im_fail(err, ENOPKG,
                       "unavailable: guests do not run with KVM here; leave accel out");
    return 0;
}

/* Run until the milestone, a trouble, the machine's end (*ret_ended) or the time is up. */
static int run(struct im_machine *machine, struct serial_watch *watch, const struct wishes *wishes,
               bool *ret_ended, struct im_error *err)
{
    int64_t began = im_clock_monotonic_ms(), now = 0;
    int64_t timeout_ms = (int64_t)wishes->timeout_s * 1000;
    char text[4096];
    size_t len;
    int r = im_machine_start(machine, err);

    while (r == 0 && now < timeout_ms && !serial_watch_has(watch, wishes->until) &&
           !serial_watch_ended(watch, now) && watch->starts <= STARTS_MAX &&
           !im_machine_is_full(machine)) {
        r = im_machine_listen(machine, 50, text, sizeof(text), &len, err);
        now = im_clock_monotonic_ms() - began;
        if (r >= 0)
            serial_watch_take(watch, text, len, now);
    }
    *ret_ended = r > 0;
    return r < 0 ? r : 0;
}

/* ---- the verdict ---- */

/* The last of the console, from the beginning of a line where one fits; the report makes it one. */
static const char *last_words(const struct serial_watch *watch, char *buf, size_t size)
{
    size_t len = watch->tail_len < SHOWN_MAX ? watch->tail_len : SHOWN_MAX;
    const char *from = watch->tail + watch->tail_len - len;
    const char *line = len < watch->tail_len ? strchr(from, '\n') : NULL;

    if (watch->bytes == 0)
        return "(nothing)";
    (void)snprintf(buf, size, "%s", line && line[1] ? line + 1 : from);
    return buf;
}

/* Why it did not come as far as wanted. */
static void explain(const struct wishes *wishes, const struct serial_watch *watch,
                    const struct im_machine *machine, bool ended, char *buf, size_t size)
{
    if (watch->trouble)
        (void)snprintf(buf, size, "%s", watch->trouble->what);
    else if (im_machine_is_full(machine))
        (void)snprintf(buf, size, "it wrote more than the %" PRIu64 " bytes it may (overlay=SIZE)",
                       wishes->overlay);
    else if (ended)
        (void)snprintf(buf, size, "it switched itself off");
    else if (watch->starts > STARTS_MAX)
        (void)snprintf(buf, size, "it resets again and again (%u starts)", watch->starts);
    else if (watch->handed_over && watch->reached < WATCH_BOOT_LOADER)
        (void)snprintf(buf, size,
                       "its boot sector printed nothing within %" PRIu64
                       " s, nor anything after it",
                       wishes->timeout_s);
    else
        (void)snprintf(buf, size, "no %s within %" PRIu64 " s", serial_watch_name(wishes->until),
                       wishes->timeout_s);
}

/* The machine itself came to grief, which is not the disk's fault. */
static bool broke(const struct im_machine *machine, bool ended)
{
    int status = machine->box.status;

    return ended && !(WIFEXITED(status) && WEXITSTATUS(status) == 0) &&
           !im_machine_is_full(machine);
}

static int machine_broke(const struct im_machine *machine, struct im_error *err)
{
    struct im_error why = { 0 };

    (void)im_box_refused(&machine->box, "start", "disk", &why);
    return im_fail_code(err, EIO, "CannotEmulate", "%s", why.message);
}

static void judge(const struct wishes *wishes, const struct serial_watch *watch,
                  const struct im_machine *machine, bool ended, struct im_report *report)
{
    const char *firmware = machine->firmware == IM_FIRMWARE_UEFI ? "UEFI" : "BIOS";
    bool nothing = watch->trouble && watch->trouble->no_loader;
    bool stopped =
        watch->trouble || ended || watch->starts > STARTS_MAX || im_machine_is_full(machine);
    const char *cure;
    char way[160], why[128], words[SHOWN_MAX + 1];

    (void)serial_watch_way(watch, way, sizeof(way));
    if (serial_watch_has(watch, wishes->until)) {
        im_report_okay(report, "It starts (%s, %s, %s): %s", firmware, wishes->bus,
                       machine->kvm ? "KVM" : "emulation", way);
        return;
    }
    explain(wishes, watch, machine, ended, why, sizeof(why));
    cure = nothing ? CURE_LOADER : stopped ? CURE_GUEST : CURE_SERIAL;
    im_report_fault(report, CODE, nothing ? NO_BOOT : NULL, cure,
                    "Started by %s from %s, %s; it came as far as: %s; its console ended with: %s",
                    firmware, wishes->bus, why, *way ? way : "nothing",
                    last_words(watch, words, sizeof(words)));
}

static int test(const struct wishes *wishes, struct im_machine *machine, struct im_look *look,
                struct im_error *err)
{
    struct serial_watch *watch IM_FREE = malloc(sizeof(*watch));
    bool ended = false;
    int r;

    if (!watch)
        return im_fail(err, ENOMEM, "out of memory");
    serial_watch_begin(watch, wishes->marker);
    r = run(machine, watch, wishes, &ended, err);
    if (r == 0 && broke(machine, ended) && !serial_watch_has(watch, wishes->until))
        r = machine_broke(machine, err);
    if (r == 0)
        judge(wishes, watch, machine, ended, look->report);
    return r;
}

static int test_file(const struct wishes *wishes, int fd, struct im_look *look,
                     struct im_error *err)
{
    struct im_scratch *scratch = NULL;
    struct im_machine machine IM_MACHINE_DONE = {
        .disk = fd,
        .size = (look->disk->size + SECTOR - 1) / SECTOR * SECTOR,
        .overlay_max = wishes->overlay,
        .bus = wishes->bus,
        .memory = wishes->memory,
        .seconds = wishes->timeout_s,
        IM_MACHINE_REST,
    };
    int r = choose_accel(wishes, &machine.kvm, err);

    if (r == 0)
        r = find_firmware(wishes, look, &machine.firmware, err);
    if (r == 0)
        r = im_scratch_take(look->context->scratch, wishes->overlay, &scratch, err);
    if (r == 0) {
        machine.overlay = scratch->fd;
        r = test(wishes, &machine, look, err);
    }
    im_machine_done(&machine); /* first, so that nobody writes to what is given back */
    im_scratch_free(scratch);
    return r;
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct wishes wishes;
    int fd IM_CLOSE = -1;
    int disk = -1;
    int r = read_wishes(args, &wishes, err);

    if (r == 0)
        r = im_look_file(look, &disk, err);
    if (r < 0)
        return r;
    fd = open_read_only(disk, err);
    return fd < 0 ? fd : test_file(&wishes, fd, look, err);
}

static const struct im_param params[] = {
    { "timeout", IM_PARAM_NUMBER, false, NULL, "seconds it may take; 120" },
    { "until", IM_PARAM_CHOICE, false, untils,
      "how far it has to come: boot-loader, kernel, root, init, login or marker" },
    { "marker", IM_PARAM_TEXT, false, NULL, "text that its console has to show" },
    { "firmware", IM_PARAM_CHOICE, false, firmwares, "bios, uefi or auto, as its tables are for" },
    { "disk-bus", IM_PARAM_CHOICE, false, buses, "where the disk is: virtio, ide or nvme" },
    { "memory", IM_PARAM_SIZE, false, NULL, "bytes of memory of the machine; 512M" },
    { "overlay", IM_PARAM_SIZE, false, NULL, "bytes of scratch for what it writes; 256M" },
    { "accel", IM_PARAM_CHOICE, false, accels, "kvm, emulation or auto, KVM where it works" },
    { 0 },
};

static const struct im_use uses[] = {
    { "/usr/share/ovmf/OVMF.fd", "UEFI" },
    { 0 },
};

static const char *const needs[] = { IM_QEMU_SYSTEM, IM_QEMU_IMG, NULL };

const struct im_stage im_stage_boot_test = {
    .name = "boot-test",
    .summary = "start the disk in an emulated machine and tell how far it comes",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .optional = true,
    .needs = needs,
    .uses = uses,
    .params = params,
    .accepts = accepts,
    .required_capacity = required_capacity,
    .look = look,
};
