/* qemu-system - a machine that starts a disk, confined. */

#include <config.h>

#include "box/qemu-system.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/spawn.h"
#include "box/qemu-img.h"
#include "core/cancel.h"

/* Words of the longest command line, with the NULL; counted by ADD. */
#define WORDS_MAX 64
/* What the emulator keeps of translated code; the default is a quarter of the machine's memory. */
#define TRANSLATED "64"

/* An overlay grows by so much; it is qcow2's default. */
#define CLUSTER 65536u

/* Firmware and its variables in one file: put in place of a BIOS its variables live in the guest's
 * memory, and nothing needs a copy of them. */
static const char *const ovmf[] = { "/usr/share/ovmf/OVMF.fd", "/usr/share/qemu/OVMF.fd" };

static const char *find_ovmf(void)
{
    for (size_t i = 0; i < sizeof(ovmf) / sizeof(ovmf[0]); i++)
        if (access(ovmf[i], R_OK) == 0)
            return ovmf[i];
    return NULL;
}

struct words {
    const char *word[WORDS_MAX];
    size_t count;
};

#define ADD(words, ...)                                                                            \
    add((words), (const char *const[]){ __VA_ARGS__ },                                             \
        sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

/* What does not fit is our mistake; the NULL always does. */
static void add(struct words *words, const char *const *word, size_t count)
{
    for (size_t i = 0; i < count && words->count < WORDS_MAX - 1; i++)
        words->word[words->count++] = word[i];
}

/* The disk is read through descriptor 0.  The overlay is as large as the disk should be, whatever
 * the file is. */
static void add_disk(struct words *words, const struct im_machine *machine)
{
    ADD(words, "-blockdev",
        "driver=file,node-name=file,filename=" IM_BOX_INPUT
        ",read-only=on,auto-read-only=off,locking=off");
    ADD(words, "-blockdev", "driver=raw,node-name=image,file=file,read-only=on,auto-read-only=off");
    if (machine->overlay >= 0) {
        ADD(words, "-blockdev", "driver=file,node-name=top,filename=" IM_BOX_FD3 ",locking=off");
        ADD(words, "-blockdev",
            "driver=qcow2,node-name=overlay,file=top,backing=image,cache.no-flush=on");
    }
    if (strcmp(machine->bus, "nvme") == 0)
        ADD(words, "-device", "nvme,drive=overlay,serial=disk,bootindex=0");
    else if (strcmp(machine->bus, "ide") == 0)
        ADD(words, "-device", "ide-hd,drive=overlay,bootindex=0");
    else
        ADD(words, "-device",
            machine->overlay >= 0 ? "virtio-blk-pci,drive=overlay,bootindex=0"
                                  : "virtio-blk-pci,drive=image,bootindex=0");
}

/* graphics=off lets the BIOS and boot loaders print on the serial console. */
static void fill_words(struct words *words, const struct im_machine *machine)
{
    ADD(words, IM_QEMU_SYSTEM, "-nodefaults", "-no-user-config", "-nic", "none", "-display", "none",
        "-monitor", "none", "-parallel", "none");
    ADD(words, "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    ADD(words, "-machine", "pc,graphics=off,usb=off,vmport=off", "-smp", "1", "-m",
        machine->memory_text);
    if (machine->kvm)
        ADD(words, "-accel", "kvm", "-cpu", "host");
    else
        ADD(words, "-accel", "tcg,thread=single,tb-size=" TRANSLATED, "-cpu", "max,la57=off");
    /* programs wait for randomness at the start */
    ADD(words, "-device", "virtio-rng-pci");
    ADD(words, "-chardev", "file,id=console,path=/proc/self/fd/1,append=on", "-serial",
        "chardev:console");
    if (machine->firmware == IM_FIRMWARE_UEFI)
        ADD(words, "-bios", find_ovmf());
    add_disk(words, machine);
}

static int make_overlay(const struct im_machine *machine, struct im_error *err)
{
    char size[24];
    const char *const argv[] = {
        IM_QEMU_IMG, "create", "-q", "-f", "qcow2", IM_BOX_FD3, size, NULL
    };
    struct im_box box IM_BOX_DONE = IM_BOX(IM_QEMU_IMG, argv, -1);
    int r;

    (void)snprintf(size, sizeof(size), "%" PRIu64, machine->size);
    box.fd3 = machine->overlay;
    box.file_size = machine->overlay_max;
    r = im_box_run(&box, err);
    if (r < 0 || im_box_succeeded(&box))
        return r;
    (void)im_box_refused(&box, "make", "overlay", err);
    return im_fail_code(err, EIO, "CannotEmulate", "%s", err ? err->message : "");
}

static int start(struct im_machine *machine, int console, struct im_error *err)
{
    struct words words = { 0 };
    int r;

    fill_words(&words, machine);
    machine->box.name = IM_QEMU_SYSTEM;
    machine->box.argv = words.word;
    machine->box.input = machine->disk;
    machine->box.output = console;
    machine->box.fd3 = machine->overlay;
    machine->box.file_size = machine->overlay_max;
    machine->box.memory = machine->memory;
    machine->box.device = machine->kvm ? "/dev/kvm" : NULL;
    machine->box.seconds = 2 * machine->seconds; /* it has threads beside the guest's processor */
    r = im_box_start(&machine->box, err);
    machine->box.argv = NULL;
    return r;
}

int im_machine_start(struct im_machine *machine, struct im_error *err)
{
    int ends[2];
    int r;

    if (machine->firmware == IM_FIRMWARE_UEFI && !find_ovmf())
        return im_fail(err, ENOPKG, "unavailable: %s is missing; install ovmf", ovmf[0]);
    (void)snprintf(machine->memory_text, sizeof(machine->memory_text), "%" PRIu64 "M",
                   machine->memory >> 20);
    r = machine->overlay >= 0 ? make_overlay(machine, err) : 0;
    if (r < 0)
        return r;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return im_fail_errno(err, errno, "cannot make a pipe");
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK); /* ours only: the guest may wait until we listen */
    r = start(machine, ends[1], err);
    (void)close(ends[1]);
    if (r < 0)
        (void)close(ends[0]);
    else
        machine->console = ends[0];
    return r;
}

static int wait_for_end(struct im_machine *machine, int timeout_ms, struct im_error *err)
{
    int r = im_spawn_wait(machine->box.pid, timeout_ms, &machine->box.status), heard;

    if (r < 0)
        return im_fail_errno(err, -r, "cannot wait for %s", IM_QEMU_SYSTEM);
    if (r > 0)
        machine->box.pid = 0;
    heard = im_box_listen(&machine->box, err);
    return heard < 0 ? heard : r;
}

int im_machine_listen(struct im_machine *machine, int timeout_ms, void *buf, size_t len,
                      size_t *ret_len, struct im_error *err)
{
    struct pollfd poller = { .fd = machine->console, .events = POLLIN };
    ssize_t n;
    int r;

    *ret_len = 0;
    (void)poll(&poller, 1, timeout_ms);
    n = read(machine->console, buf, len);
    if (n > 0)
        *ret_len = (size_t)n;
    r = im_cancel_check(err);
    if (r == 0)
        r = im_box_listen(&machine->box, err);
    if (r < 0 || n > 0)
        return r;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR
                   ? 0
                   : im_fail_errno(err, errno, "cannot read the console of %s", IM_QEMU_SYSTEM);
    return wait_for_end(machine, timeout_ms, err); /* nobody holds the pipe any more */
}

bool im_machine_is_full(const struct im_machine *machine)
{
    struct stat st;

    return machine->overlay >= 0 && fstat(machine->overlay, &st) == 0 &&
           (uint64_t)st.st_size + CLUSTER > machine->overlay_max;
}

void im_machine_done(struct im_machine *machine)
{
    im_box_done(&machine->box);
    if (machine->console >= 0)
        (void)close(machine->console);
    machine->console = -1;
}

/* ---- does KVM work? ---- */

/* The letter comes within a tenth of a second where it comes at all. */
#define PROBE_MS 1500

/* A boot sector: out 0x3f8 with a letter, then halt.  The firmware's own words have none of it. */
#define LETTER '~'
static const uint8_t probe_code[] = {
    0xba, 0xf8,   0x03, /* mov dx, 0x3f8 */
    0xb0, LETTER,       /* mov al, LETTER */
    0xee,               /* out dx, al */
    0xfa, 0xf4,         /* cli; hlt */
    0xeb, 0xfd,         /* jmp back to hlt */
};

static bool hear_letter(struct im_machine *machine)
{
    int64_t until = im_clock_monotonic_ms() + PROBE_MS;
    char text[512];
    size_t len;
    int r = 0;

    while (r == 0 && im_clock_monotonic_ms() < until) {
        r = im_machine_listen(machine, 50, text, sizeof(text), &len, NULL);
        if (memchr(text, LETTER, len))
            return true;
    }
    return false;
}

static bool probe_kvm(void)
{
    uint8_t sector[512] = { [510] = 0x55, [511] = 0xaa };
    int disk IM_CLOSE = -1;
    struct im_machine machine IM_MACHINE_DONE = {
        .size = sizeof(sector),
        .overlay = -1,
        .bus = "virtio",
        .memory = 64u << 20,
        .seconds = 2,
        .kvm = true,
        IM_MACHINE_REST,
    };

    if (access("/dev/kvm", R_OK | W_OK) < 0)
        return false;
    memcpy(sector, probe_code, sizeof(probe_code));
    disk = memfd_create("probe", MFD_CLOEXEC);
    if (disk < 0 || im_pwrite(disk, sector, sizeof(sector), 0) < 0)
        return false;
    machine.disk = disk;
    return im_machine_start(&machine, NULL) == 0 && hear_letter(&machine);
}

static bool kvm;

static void find_kvm(void)
{
    kvm = probe_kvm();
}

bool im_machine_has_kvm(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, find_kvm);
    return kvm;
}
