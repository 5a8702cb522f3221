/* serial-watch - follow a guest's start by what it prints on its serial console.
 *
 * It knows the words of firmware, boot loaders, Linux and its first programs; it runs nothing.  A
 * guest may print whatever it likes: what is kept of it has a ceiling, and believing its words
 * harms nobody but the guest. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longest marker, in bytes: a line of a console. */
#define WATCH_MARKER_MAX 128
/* What is looked through at once: lines that are longer are looked through in pieces. */
#define WATCH_LINE_MAX 1024
/* Last bytes of the console that are kept to be shown. */
#define WATCH_TAIL_MAX 512

/* In the order they come; not every guest shows each. */
enum watch_milestone {
    WATCH_NOTHING,
    WATCH_FIRMWARE,
    WATCH_BOOT_LOADER,
    WATCH_KERNEL,
    WATCH_ROOT,
    WATCH_INIT,
    WATCH_LOGIN,
    WATCH_MARKER,
    WATCH_MILESTONES, /* how many there are */
};

/* What ends a start. */
struct watch_trouble {
    const char *words;          /* that the guest prints */
    enum watch_milestone until; /* from this milestone on the words mean nothing */
    unsigned patience_s;        /* it may still go on; 0: it cannot */
    bool no_loader;             /* the firmware found nothing to start */
    const char *what;           /* half a sentence: "the kernel panicked" */
};

struct serial_watch {
    const char *marker;                  /* NULL: none; not owned */
    enum watch_milestone reached;        /* the furthest */
    int64_t at_ms[WATCH_MILESTONES];     /* when; -1: was not seen */
    unsigned starts;                     /* of the firmware */
    bool handed_over;                    /* the BIOS jumps to a boot sector, if it is one */
    uint64_t bytes;                      /* that came at all */
    const struct watch_trouble *trouble; /* NULL: none so far */
    int64_t trouble_ms;                  /* when its words came */

    char line[WATCH_LINE_MAX + 1]; /* the current one, without control characters */
    size_t line_len;
    char tail[WATCH_TAIL_MAX + 1]; /* without empty lines, and one blank for many */
    size_t tail_len;
    int escape; /* inside an escape sequence: where */
};

/* Begin; the marker (may be NULL) stays the caller's. */
void serial_watch_begin(struct serial_watch *watch, const char *marker);

/* Take what the console printed until now_ms (since the start). */
void serial_watch_take(struct serial_watch *watch, const char *text, size_t len, int64_t now_ms);

/* Has it come so far?  Later ones count for all before, but for init: it may be the initramfs's, so
 * it does not stand for the root. */
bool serial_watch_has(const struct serial_watch *watch, enum watch_milestone milestone);

/* The trouble that ended the start, or NULL: there is none, or its patience lasts. */
const struct watch_trouble *serial_watch_ended(const struct serial_watch *watch, int64_t now_ms);

/* "firmware", "boot loader" … */
const char *serial_watch_name(enum watch_milestone milestone);

/* What has been reached and when, "firmware 0.1 s, boot loader 0.3 s", into buf; returns buf. */
const char *serial_watch_way(const struct serial_watch *watch, char *buf, size_t size);
