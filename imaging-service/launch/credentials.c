/* credentials - read an access key and its secret; see credentials.h. */

#include <config.h>

#include "launch/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"

/* A token of 4 KiB, two keys and the comments of a patient operator. */
#define FILE_MAX (16 * 1024)

static int read_private(const char *path, char text[FILE_MAX + 1], struct im_error *err)
{
    int fd IM_CLOSE = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot read launcher-credentials '%s'", path);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        return im_fail(err, EACCES,
                       "launcher-credentials '%s' has the mode %04o; it must be a file that only "
                       "its owner can read: chmod 600",
                       path, (unsigned)(st.st_mode & 07777));
    if (st.st_size > FILE_MAX)
        return im_fail(err, EINVAL, "launcher-credentials '%s' has more than %d bytes", path,
                       FILE_MAX);
    n = im_pread(fd, text, FILE_MAX, 0);
    if (n < 0)
        return im_fail_errno(err, (int)-n, "cannot read launcher-credentials '%s'", path);
    text[n] = '\0';
    return 0;
}

/* The next line that is no comment and not empty, without its outer blanks; NULL at the end. */
static char *next_line(char **rest)
{
    char *line;

    while ((line = strsep(rest, "\n"))) {
        size_t len;

        line += strspn(line, " \t\r");
        len = strlen(line);
        while (len > 0 && strchr(" \t\r", line[len - 1]))
            len--;
        line[len] = '\0';
        if (*line && *line != '#' && *line != ';')
            return line;
    }
    return NULL;
}

/* Copy a value that fits; false when it does not. */
static bool set(char *field, size_t size, const char *value)
{
    size_t len = strlen(value);

    if (len >= size)
        return false;
    memcpy(field, value, len + 1);
    return true;
}

/* "name = value" */
static bool take_pair(char *line, struct credentials *keys)
{
    char *value = strchr(line, '=');
    char *end = value;

    if (!value)
        return true;
    *value++ = '\0';
    value += strspn(value, " \t");
    while (end > line && strchr(" \t", end[-1]))
        *--end = '\0';
    if (strcasecmp(line, "aws_access_key_id") == 0)
        return set(keys->access_key, sizeof(keys->access_key), value);
    if (strcasecmp(line, "aws_secret_access_key") == 0)
        return set(keys->secret_key, sizeof(keys->secret_key), value);
    if (strcasecmp(line, "aws_session_token") == 0)
        return set(keys->token, sizeof(keys->token), value);
    return true;
}

static bool take_lines(char *text, struct credentials *keys)
{
    char *line = next_line(&text);
    bool ours = true;

    if (line && *line != '[' && !strchr(line, '=')) { /* two lines */
        char *secret = next_line(&text);

        return secret && set(keys->access_key, sizeof(keys->access_key), line) &&
               set(keys->secret_key, sizeof(keys->secret_key), secret);
    }
    for (; line; line = next_line(&text)) {
        if (*line == '[')
            ours = strcmp(line, "[default]") == 0;
        else if (ours && !take_pair(line, keys))
            return false;
    }
    return *keys->access_key && *keys->secret_key;
}

int credentials_read(const char *path, struct credentials *ret_credentials, struct im_error *err)
{
    struct credentials keys CREDENTIALS_DONE = { 0 };
    char text[FILE_MAX + 1];
    int r = read_private(path, text, err);
    bool found = r == 0 && take_lines(text, &keys);

    explicit_bzero(text, sizeof(text));
    if (r < 0)
        return r;
    if (!found)
        return im_fail(err, EINVAL,
                       "launcher-credentials '%s' holds no access key with its secret key; write "
                       "them as two lines",
                       path);
    *ret_credentials = keys;
    return 0;
}

void credentials_done(struct credentials *credentials)
{
    explicit_bzero(credentials, sizeof(*credentials));
}
