/* fail-alloc - preloaded into a program: one of its allocations fails.
 *
 *   FAIL_ALLOC=N          the Nth of the process fails, counted from 1
 *   FAIL_ALLOC=N+         and all that follow
 *   FAIL_ALLOC_LIST=FILE  FILE becomes a list of all allocations (struct entry): their numbers, and
 *                         from where they were made
 *
 * What fails is told on standard error: "fail-alloc: N at PLACE PLACE …".  A child goes on counting
 * where its parent was.  This is no allocator: what does not fail is left to the one that is loaded
 * next, which is AddressSanitizer's in a program that was built with it.  lib/torture.py uses it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Frames that tell one place of allocation from another, and the first of them that is not here. */
#define DEPTH   16
#define OUTSIDE 2

/* What libraries of others leak when they have no memory (and the loader, of what is loaded for
 * backtrace): LeakSanitizer asks for this list. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:ld-linux\nleak:libxml2\nleak:libcrypto\nleak:libssl\nleak:libcurl\nleak:libgnutls\n";
}

struct entry {
    uint64_t number;
    uint64_t place; /* the same for all allocations with the same stack */
};

static uint64_t count, fails_at;
static bool ready, all_that_follow;
static int list = -1;
static __thread bool busy; /* what backtrace or dladdr allocate is not counted */

__attribute__((constructor)) static void start(void)
{
    const char *at = getenv("FAIL_ALLOC");
    const char *name = getenv("FAIL_ALLOC_LIST");
    void *frames[DEPTH];
    char *end = NULL;
    int fd;

    (void)unsetenv("LD_PRELOAD"); /* of other programs, as the sanitizer's for names, none fails */
    (void)backtrace(frames, DEPTH); /* loads what it needs */
    if (at)
        fails_at = strtoull(at, &end, 10);
    all_that_follow = end && *end == '+';
    if (name && (fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) >= 0) {
        list = fcntl(fd, F_DUPFD_CLOEXEC, 700); /* out of the way */
        (void)close(fd);
    }
    __atomic_store_n(&ready, true, __ATOMIC_RELEASE);
}

static void put_down(uint64_t number)
{
    struct entry entry = { .number = number, .place = UINT64_C(0xcbf29ce484222325) };
    void *frames[DEPTH];
    int n = backtrace(frames, DEPTH);

    for (int i = OUTSIDE; i < n; i++)
        entry.place = (entry.place ^ (uintptr_t)frames[i]) * UINT64_C(0x100000001b3);
    (void)!write(list, &entry, sizeof(entry));
}

static void tell(uint64_t number)
{
    void *frames[DEPTH];
    int n = backtrace(frames, DEPTH);
    char line[4096];
    int len = snprintf(line, sizeof(line), "fail-alloc: %llu at", (unsigned long long)number);

    for (int i = OUTSIDE; i < n && len < (int)sizeof(line) - 256; i++) {
        Dl_info info = { 0 };
        const char *file, *slash;

        (void)dladdr(frames[i], &info);
        file = info.dli_fname ? info.dli_fname : "?";
        slash = strrchr(file, '/');
        len += snprintf(line + len, sizeof(line) - (size_t)len, " %.60s+0x%llx%s%.60s",
                        slash ? slash + 1 : file,
                        (unsigned long long)((char *)frames[i] - (char *)info.dli_fbase),
                        info.dli_sname ? ":" : "", info.dli_sname ? info.dli_sname : "");
    }
    line[len++] = '\n';
    (void)!write(STDERR_FILENO, line, (size_t)len);
}

/* Whether this allocation is to fail; errno says so then. */
static bool fails(void)
{
    uint64_t number;
    int saved = errno;
    bool it = false;

    if (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE) || busy)
        return false;
    busy = true;
    number = __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
    if (list >= 0)
        put_down(number);
    if (fails_at && (number == fails_at || (all_that_follow && number > fails_at))) {
        it = true;
        if (number == fails_at)
            tell(number);
    }
    busy = false;
    errno = it ? ENOMEM : saved;
    return it;
}

/* The next function of this name, in a pointer like &name. */
#define NEXT(name)                                                     \
    static __typeof__(&name) next;                                     \
    if (!next)                                                         \
        next = (__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name)

void *malloc(size_t size)
{
    NEXT(malloc);
    return fails() ? NULL : next(size);
}

void *calloc(size_t n, size_t size)
{
    NEXT(calloc);
    return fails() ? NULL : next(n, size);
}

void *realloc(void *old, size_t size)
{
    NEXT(realloc);
    return fails() ? NULL : next(old, size);
}

void *reallocarray(void *old, size_t n, size_t size)
{
    size_t all;

    if (__builtin_mul_overflow(n, size, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, all);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    NEXT(aligned_alloc);
    return fails() ? NULL : next(alignment, size);
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
    NEXT(memalign);
    return fails() ? NULL : next(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
    NEXT(posix_memalign);
    return fails() ? ENOMEM : next(ret, alignment, size);
}

/* AddressSanitizer's own copies allocate past the malloc above. */
char *strdup(const char *text)
{
    size_t len = strlen(text) + 1;
    char *copy = malloc(len);

    return copy ? memcpy(copy, text, len) : NULL;
}

char *__strdup(const char *text);
char *__strdup(const char *text)
{
    return strdup(text);
}

char *strndup(const char *text, size_t max)
{
    size_t len = strnlen(text, max);
    char *copy = malloc(len + 1);

    if (!copy)
        return NULL;
    copy[len] = '\0';
    return memcpy(copy, text, len);
}

char *__strndup(const char *text, size_t max);
char *__strndup(const char *text, size_t max)
{
    return strndup(text, max);
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    NEXT(mmap);
    return fails() ? MAP_FAILED : next(at, size, protection, flags, fd, offset);
}
