/* clock - the time, read in one place. */

#include <config.h>

#include "base/clock.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_ms(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t im_clock_now_ms(void)
{
    return read_ms(CLOCK_REALTIME);
}

int64_t im_clock_monotonic_ms(void)
{
    return read_ms(CLOCK_MONOTONIC);
}

int64_t im_clock_monotonic_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Broken-down UTC of ms; whole seconds, rounded down also before 1970. */
static struct tm utc_of(int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000 - (ms % 1000 < 0));
    struct tm tm = { 0 };

    (void)gmtime_r(&seconds, &tm);
    return tm;
}

const char *im_clock_iso8601(char *buf, size_t size, int64_t ms)
{
    struct tm tm = utc_of(ms);

    if (strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        buf[0] = '\0';
    return buf;
}

const char *im_clock_basic(char *buf, size_t size, int64_t ms)
{
    struct tm tm = utc_of(ms);

    if (strftime(buf, size, "%Y%m%dT%H%M%SZ", &tm) == 0)
        buf[0] = '\0';
    return buf;
}

const char *im_clock_http(char *buf, size_t size, int64_t ms)
{
    /* the names are the protocol's, not the locale's */
    static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    struct tm tm = utc_of(ms);

    (void)snprintf(buf, size, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday,
                   months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    return buf;
}

/* Read exactly `count` digits and step over them. */
static bool take_digits(const char **text, unsigned count, int *ret_value)
{
    int value = 0;

    for (unsigned i = 0; i < count; i++, (*text)++) {
        if (**text < '0' || **text > '9')
            return false;
        value = value * 10 + (**text - '0');
    }
    *ret_value = value;
    return true;
}

static bool take(const char **text, const char *word)
{
    size_t len = strlen(word);

    if (strncmp(*text, word, len) != 0)
        return false;
    *text += len;
    return true;
}

/* Milliseconds of a date that exists: 30 February, hour 24 and second 60 are none. */
static int to_ms(const struct tm *wanted, int64_t *ret_ms)
{
    struct tm tm = *wanted;
    time_t seconds = timegm(&tm);

    if (tm.tm_year != wanted->tm_year || tm.tm_mon != wanted->tm_mon ||
        tm.tm_mday != wanted->tm_mday || tm.tm_hour != wanted->tm_hour ||
        tm.tm_min != wanted->tm_min || tm.tm_sec != wanted->tm_sec || wanted->tm_year < 70)
        return -EINVAL;
    *ret_ms = (int64_t)seconds * 1000;
    return 0;
}

int im_clock_parse_basic(const char *text, int64_t *ret_ms)
{
    struct tm tm = { 0 };

    if (!take_digits(&text, 4, &tm.tm_year) || !take_digits(&text, 2, &tm.tm_mon) ||
        !take_digits(&text, 2, &tm.tm_mday) || !take(&text, "T") ||
        !take_digits(&text, 2, &tm.tm_hour) || !take_digits(&text, 2, &tm.tm_min) ||
        !take_digits(&text, 2, &tm.tm_sec) || strcmp(text, "Z") != 0)
        return -EINVAL;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return to_ms(&tm, ret_ms);
}

/* ".123": milliseconds; more digits say nothing here. */
static bool take_fraction(const char **text, int *ret_ms)
{
    unsigned digits = 0;

    *ret_ms = 0;
    if (!take(text, "."))
        return true;
    for (; **text >= '0' && **text <= '9'; (*text)++, digits++)
        if (digits < 3)
            *ret_ms = *ret_ms * 10 + (**text - '0');
    for (unsigned i = digits; i < 3; i++)
        *ret_ms *= 10;
    return digits >= 1 && digits <= 9;
}

/* "Z", nothing, or "+01:00". */
static bool take_offset(const char *text, int *ret_minutes)
{
    bool west = *text == '-';
    int hours, minutes;

    *ret_minutes = 0;
    if (!*text || strcmp(text, "Z") == 0)
        return true;
    if (*text != '+' && !west)
        return false;
    text++;
    if (!take_digits(&text, 2, &hours) || !take(&text, ":") || !take_digits(&text, 2, &minutes) ||
        *text || hours > 14 || minutes > 59)
        return false;
    *ret_minutes = (hours * 60 + minutes) * (west ? -1 : 1);
    return true;
}

int im_clock_parse_iso8601(const char *text, int64_t *ret_ms)
{
    struct tm tm = { 0 };
    int fraction, minutes;
    int64_t ms;

    if (!take_digits(&text, 4, &tm.tm_year) || !take(&text, "-") ||
        !take_digits(&text, 2, &tm.tm_mon) || !take(&text, "-") ||
        !take_digits(&text, 2, &tm.tm_mday) || !take(&text, "T") ||
        !take_digits(&text, 2, &tm.tm_hour) || !take(&text, ":") ||
        !take_digits(&text, 2, &tm.tm_min) || !take(&text, ":") ||
        !take_digits(&text, 2, &tm.tm_sec) || !take_fraction(&text, &fraction) ||
        !take_offset(text, &minutes))
        return -EINVAL;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    if (to_ms(&tm, &ms) < 0)
        return -EINVAL;
    *ret_ms = ms + fraction - (int64_t)minutes * 60000;
    return 0;
}

static bool take_month(const char **text, int *ret_month)
{
    static const char *const names[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

    for (int i = 0; i < 12; i++)
        if (take(text, names[i])) {
            *ret_month = i;
            return true;
        }
    return false;
}

/* The rest of a date: "GMT", "UTC" or "+hhmm"; euca2ools sends "-0000". */
static bool take_zone(const char *text, int *ret_minutes)
{
    bool west = *text == '-';
    int hours, minutes;

    *ret_minutes = 0;
    if (strcmp(text, "GMT") == 0 || strcmp(text, "UTC") == 0)
        return true;
    if (*text != '+' && !west)
        return false;
    text++;
    if (!take_digits(&text, 2, &hours) || !take_digits(&text, 2, &minutes) || *text || hours > 14 ||
        minutes > 59)
        return false;
    *ret_minutes = (hours * 60 + minutes) * (west ? -1 : 1);
    return true;
}

int im_clock_parse_http(const char *text, int64_t *ret_ms)
{
    struct tm tm = { 0 };
    int minutes;
    int64_t ms;

    /* The name of the day says nothing new. */
    if (strlen(text) > 4 && text[3] == ',')
        text += 4 + (text[4] == ' ');
    if ((!(text[0] && text[1] == ' ' && take_digits(&text, 1, &tm.tm_mday)) &&
         !take_digits(&text, 2, &tm.tm_mday)) ||
        !take(&text, " ") || !take_month(&text, &tm.tm_mon) || !take(&text, " ") ||
        !take_digits(&text, 4, &tm.tm_year) || !take(&text, " ") ||
        !take_digits(&text, 2, &tm.tm_hour) || !take(&text, ":") ||
        !take_digits(&text, 2, &tm.tm_min) || !take(&text, ":") ||
        !take_digits(&text, 2, &tm.tm_sec) || !take(&text, " ") || !take_zone(text, &minutes))
        return -EINVAL;
    tm.tm_year -= 1900;
    if (to_ms(&tm, &ms) < 0)
        return -EINVAL;
    *ret_ms = ms - (int64_t)minutes * 60000;
    return 0;
}
