/* fault-server - start tests/lib/fault-server.py from a C test, and ask what it saw. */
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/spawn.h"
#include "base/text.h"

struct fault_server {
    char dir[64];
    unsigned port;
    pid_t pid;
};

/* One server for the whole program; it dies with the program. */
static struct fault_server server;

static inline void server_start(void)
{
    const char *top = getenv("top_srcdir");
    char script[4096], text[16] = "";
    const char *argv[] = { "python3", script, server.dir, NULL };
    struct im_error err = { 0 };
    uint64_t port;
    int ends[2];

    (void)snprintf(server.dir, sizeof(server.dir), "/tmp/fault-server.XXXXXX");
    (void)snprintf(script, sizeof(script), "%s/tests/lib/fault-server.py", top ? top : ".");
    if (!mkdtemp(server.dir) || pipe2(ends, O_CLOEXEC) < 0 ||
        im_spawn(&(struct im_spawn){ .argv = argv,
                                     .stdin_fd = -1,
                                     .stdout_fd = ends[1],
                                     .stderr_fd = STDERR_FILENO,
                                     .fd3 = -1 },
                 &server.pid, &err) < 0) {
        fprintf(stderr, "cannot start the server: %s\n", err.message);
        exit(1);
    }
    (void)close(ends[1]);
    for (size_t n = 0; n + 1 < sizeof(text) && read(ends[0], text + n, 1) == 1 && text[n] != '\n';)
        n++;
    text[strcspn(text, "\n")] = '\0';
    if (im_parse_uint(text, 65535, &port) < 0) {
        fprintf(stderr, "the server told no port\n");
        exit(1);
    }
    server.port = (unsigned)port;
    (void)close(ends[0]);
}

static inline void server_stop(void)
{
    char command[256];

    (void)im_spawn_kill(server.pid, 1000);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", server.dir);
    if (system(command) != 0)
        fprintf(stderr, "cannot remove %s\n", server.dir);
}

/* "http://127.0.0.1:PORT/SCRIPT/NAME" in one of a few static buffers. */
static inline const char *server_url(const char *script, const char *name)
{
    static char url[16][1024];
    static unsigned next;
    char *buf = url[next++ % 16];

    (void)snprintf(buf, sizeof(url[0]), "http://127.0.0.1:%u/%s/%s", server.port, script, name);
    return buf;
}

static inline void server_put(const char *name, const void *data, size_t len)
{
    char path[256];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", server.dir, name);
    file = fopen(path, "w");
    if (!file || fwrite(data, 1, len, file) != len || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

/* Forget what was asked so far. */
static inline void server_forget(void)
{
    server_put("log", "", 0);
}

/* Lines of the log that hold both texts; the last of them is copied to line (SERVER_LINE bytes)
 * when it is not NULL. */
#define SERVER_LINE 2048
static inline unsigned server_saw(const char *one, const char *other, char *line)
{
    char path[256], text[SERVER_LINE];
    unsigned count = 0;
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/log", server.dir);
    file = fopen(path, "r");
    while (file && fgets(text, sizeof(text), file)) {
        if (!strstr(text, one) || !strstr(text, other))
            continue;
        count++;
        if (line)
            memcpy(line, text, sizeof(text));
    }
    if (file)
        (void)fclose(file);
    return count;
}

/* Wait until the log has at least `count` such lines; false after ten seconds. */
static inline bool server_sees(const char *one, const char *other, unsigned count)
{
    int64_t until = im_clock_monotonic_ms() + 10000;

    while (server_saw(one, other, NULL) < count) {
        if (im_clock_monotonic_ms() > until)
            return false;
        (void)nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    }
    return true;
}

/* Bytes nobody can mistake for others: each depends on its offset and the seed. */
static inline void fill_pattern(uint8_t *buf, size_t len, uint64_t seed)
{
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        buf[i] = (uint8_t)x;
    }
}
