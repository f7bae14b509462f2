/* Shifts the time of day of a process into which the loader puts this, by as many seconds as a file says.
 *
 * The file's name is in MIAOFS_TEST_CLOCK. It is read at each look, so that the clock can jump at any moment.
 * Nothing here allocates or looks up a symbol: allocators read the clock while they set themselves up. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Seconds that the clock is ahead, or 0 where no file says it. */
static time_t ahead(void)
{
    const char *name = getenv("MIAOFS_TEST_CLOCK");
    if (!name)
        return 0;
    int before = errno;
    char text[32];
    ssize_t length = -1;
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        length = read(file, text, sizeof text - 1);
        close(file);
    }
    errno = before;
    text[length > 0 ? length : 0] = '\0';
    return strtoll(text, NULL, 10);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += ahead();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int result = syscall(SYS_gettimeofday, now, zone);
    if (result == 0)
        now->tv_sec += ahead();
    return result;
}

time_t time(time_t *seconds)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (seconds)
        *seconds = now.tv_sec;
    return now.tv_sec;
}
