/* Stands between a program (LD_PRELOAD) and its disk and wall clock: fails, records, or kills at the Nth disk call.

   Only files below DISKFAULT_DIR (absolute) are touched; paths that the program gives must be absolute too. The calls
   that count are those that change the medium or ask it to keep something: opens for writing, writes, truncations,
   syncs, renames, unlinks and mkdirs. Not seen: mmap (SQLite's -shm, which it makes anew after a crash), reads, fallocate.

   DISKFAULT_AT=N        the fault is at the Nth such call, from 1
   DISKFAULT_ACT=        once: that call fails; stay: it and all after it; kill: SIGKILL instead of that call
   DISKFAULT_ONLY=WORD   only calls with WORD in their name count, such as sync
   DISKFAULT_ERRNO=E     how it fails, as a number
   DISKFAULT_SHORT=1     a write does half of its work first; with `once`, the call after it is the one that fails
   DISKFAULT_LIFT=FILE   no fault once FILE is there
   DISKFAULT_HIT=FILE    gets a line for the first call that was hit
   DISKFAULT_LOG=FILE    gets a record of each call that was done: struct record, then its data (read by medium.py)
   WALLSHIFT=FILE        holds seconds, read at each call, by which the wall clock is off; monotonic clocks are left alone

   diskfault_arm() reads the environment anew and counts from zero, so that a process made by fork has its own plan.
   cc -O2 -shared -fPIC -o diskfault.so diskfault.c -ldl -lpthread */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS 65536
#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

struct record { uint32_t op, size; uint64_t inode; int64_t at, time_ns; };

enum act { NOTHING, ONCE, STAY, KILL };

static struct {
    char dir[4096], lift[4096], hit[4096], only[4096];
    size_t dir_length;
    long at;
    enum act act;
    int error, halves, log;
} plan = {.log = -1};

static unsigned char tracked[FDS];
static long calls, records, hits;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;  /* a call and its record, so that the log has the true order */

static void copy(char *to, const char *name) {
    const char *value = getenv(name);
    snprintf(to, 4096, "%s", value ? value : "");
}

static long number(const char *name) {
    const char *value = getenv(name);
    return value ? atol(value) : 0;
}

static enum act act_of(const char *name) {
    if (!name || !*name) return NOTHING;
    return name[0] == 'o' ? ONCE : name[0] == 's' ? STAY : KILL;
}

void diskfault_arm(void) {
    char log[4096];
    if (plan.log >= 0) syscall(SYS_close, plan.log);
    copy(plan.dir, "DISKFAULT_DIR");
    copy(plan.lift, "DISKFAULT_LIFT");
    copy(plan.hit, "DISKFAULT_HIT");
    copy(plan.only, "DISKFAULT_ONLY");
    copy(log, "DISKFAULT_LOG");
    plan.dir_length = strlen(plan.dir);
    plan.at = number("DISKFAULT_AT");
    plan.act = act_of(getenv("DISKFAULT_ACT"));
    plan.error = (int)number("DISKFAULT_ERRNO");
    plan.halves = (int)number("DISKFAULT_SHORT");
    plan.log = *log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    calls = records = hits = 0;
}

__attribute__((constructor)) static void begin(void) { diskfault_arm(); }

long diskfault_calls(void) { return calls; }

static int below(const char *path) {
    return plan.dir_length && !strncmp(path, plan.dir, plan.dir_length) &&
           (path[plan.dir_length] == '/' || !path[plan.dir_length]);
}

static int is_tracked(int fd) { return fd >= 0 && fd < FDS && tracked[fd]; }

/* Writes a record; the caller holds `order`. */
static void note(char op, uint64_t inode, int64_t at, const void *data, size_t size) {
    struct timespec now;
    if (plan.log < 0) return;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    struct record head = {(uint32_t)op, (uint32_t)size, inode, at, now.tv_sec * 1000000000LL + now.tv_nsec};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, size}};
    if (syscall(SYS_writev, plan.log, parts, 2) != (long)(sizeof head + size)) abort();  /* a log with holes would lie */
    records++;
}

static void note_text(char op, uint64_t inode, int64_t at, const char *text) { note(op, inode, at, text, strlen(text)); }

/* A word of the program's own, in its place between the disk calls. */
void diskfault_mark(const char *text) {
    pthread_mutex_lock(&order);
    note_text('M', 0, 0, text);
    pthread_mutex_unlock(&order);
}

static void tell_hit(const char *call, long nth) {
    char line[128];
    if (hits++ || !*plan.hit) return;
    int file = (int)syscall(SYS_openat, AT_FDCWD, plan.hit, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int size = snprintf(line, sizeof line, "%ld %s\n", nth, call);
    syscall(SYS_write, file, line, size);
    syscall(SYS_close, file);
}

/* Whether this call is to fail: 0, or -1 for "half of it", or the errno. Does not return when it is the one to die at. */
static int fault(const char *call, int may_halve) {
    if (*plan.only && !strstr(call, plan.only)) return 0;
    long nth = __sync_add_and_fetch(&calls, 1);
    if (plan.act == NOTHING || nth < plan.at) return 0;
    int halve = plan.halves && may_halve && nth == plan.at;
    int hit = nth == plan.at || plan.act == STAY || (plan.act == ONCE && plan.halves && nth == plan.at + 1);
    if (!hit || (*plan.lift && !syscall(SYS_faccessat, AT_FDCWD, plan.lift, F_OK))) return 0;
    tell_hit(call, nth);
    if (halve) return -1;
    if (plan.act == KILL) syscall(SYS_kill, getpid(), SIGKILL);
    return plan.error;
}

static uint64_t inode_of(int fd) {
    struct stat it;
    return fstat(fd, &it) ? 0 : it.st_ino;
}

static int is_folder(int fd) {
    struct stat it;
    return !fstat(fd, &it) && S_ISDIR(it.st_mode);
}

static int fails_here(const char *path, int flags, int there) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    return writes && !(there && plan.error == ENOSPC);  /* a full disk still opens what is there */
}

static int open_any(const char *path, int flags, mode_t mode) {
    REAL(int, openat, int, const char *, int, ...);
    if (!below(path)) return real(AT_FDCWD, path, flags, mode);
    int there = !syscall(SYS_faccessat, AT_FDCWD, path, F_OK);
    int error = fails_here(path, flags, there) ? fault("open", 0) : 0;
    if (error) return errno = error, -1;
    pthread_mutex_lock(&order);
    int fd = real(AT_FDCWD, path, flags, mode);
    int saved = errno;
    if (fd >= 0 && fd < FDS) {
        tracked[fd] = 1;
        note_text(is_folder(fd) ? 'D' : 'O', inode_of(fd), !there, path);
        if (there && (flags & O_TRUNC)) note('T', inode_of(fd), 0, "", 0);
    }
    pthread_mutex_unlock(&order);
    return errno = saved, fd;
}

#define WITH_MODE(last, flags) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list more; va_start(more, last); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) { WITH_MODE(flags, flags) return open_any(path, flags, mode); }
int open64(const char *path, int flags, ...) { WITH_MODE(flags, flags) return open_any(path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) {
    REAL(int, openat, int, const char *, int, ...);
    WITH_MODE(flags, flags)
    return *path == '/' ? open_any(path, flags, mode) : real(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) { WITH_MODE(flags, flags) return openat(folder, path, flags, mode); }

int close(int fd) {
    REAL(int, close, int);
    if (is_tracked(fd)) tracked[fd] = 0;
    return real(fd);
}

static ssize_t write_raw(int fd, const void *data, size_t size, off_t at) {
    return at < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, at);
}

/* at < 0: where the file stands, or at its end. */
static ssize_t write_any(const char *call, int fd, const void *data, size_t size, off_t at) {
    if (!is_tracked(fd)) return write_raw(fd, data, size, at);
    int error = fault(call, size > 1);
    if (error > 0) return errno = error, -1;
    if (error) size /= 2;
    pthread_mutex_lock(&order);
    ssize_t done = write_raw(fd, data, size, at);
    int saved = errno;
    if (done > 0) note('W', inode_of(fd), at < 0 ? lseek(fd, 0, SEEK_CUR) - done : at, data, (size_t)done);
    pthread_mutex_unlock(&order);
    if (error && plan.act == KILL) syscall(SYS_kill, getpid(), SIGKILL);
    return errno = saved, done;
}

ssize_t write(int fd, const void *data, size_t size) { return write_any("write", fd, data, size, -1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return write_any("pwrite", fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { return write_any("pwrite", fd, data, size, at); }

/* A sync covers what was done before it began; what other threads do meanwhile it may not cover. */
static int sync_any(const char *call, int fd, long which) {
    if (!is_tracked(fd)) return (int)syscall(which, fd);
    int error = fault(call, 0);
    if (error) return errno = error, -1;
    pthread_mutex_lock(&order);
    long before = records;
    pthread_mutex_unlock(&order);
    int result = (int)syscall(which, fd), saved = errno;
    pthread_mutex_lock(&order);
    if (!result) note('F', inode_of(fd), before, "", 0);
    pthread_mutex_unlock(&order);
    return errno = saved, result;
}

int fsync(int fd) { return sync_any("fsync", fd, SYS_fsync); }
int fdatasync(int fd) { return sync_any("fdatasync", fd, SYS_fdatasync); }

static int truncate_any(int fd, off_t size) {
    if (!is_tracked(fd)) return (int)syscall(SYS_ftruncate, fd, size);
    int error = fault("ftruncate", 0);
    if (error) return errno = error, -1;
    pthread_mutex_lock(&order);
    int result = (int)syscall(SYS_ftruncate, fd, size), saved = errno;
    if (!result) note('T', inode_of(fd), size, "", 0);
    pthread_mutex_unlock(&order);
    return errno = saved, result;
}

int ftruncate(int fd, off_t size) { return truncate_any(fd, size); }
int ftruncate64(int fd, off_t size) { return truncate_any(fd, size); }

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    char both[8192];
    if (!below(from) && !below(to)) return real(from, to);
    int error = fault("rename", 0);
    if (error) return errno = error, -1;
    snprintf(both, sizeof both, "%s\n%s", from, to);
    pthread_mutex_lock(&order);
    int result = real(from, to), saved = errno;
    if (!result) note_text('R', 0, 0, both);
    pthread_mutex_unlock(&order);
    return errno = saved, result;
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    if (!below(path)) return real(path);
    int error = fault("unlink", 0);
    if (error) return errno = error, -1;
    pthread_mutex_lock(&order);
    int result = real(path), saved = errno;
    if (!result) note_text('U', 0, 0, path);
    pthread_mutex_unlock(&order);
    return errno = saved, result;
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    if (!below(path) || !syscall(SYS_faccessat, AT_FDCWD, path, F_OK)) return real(path, mode);
    int error = fault("mkdir", 0);
    if (error) return errno = error, -1;
    return real(path, mode);
}

/* The wall clock */

static long shift_s(void) {
    const char *path = getenv("WALLSHIFT");
    char text[32];
    if (!path || !*path) return 0;
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    long size = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    if (size <= 0) return 0;
    text[size] = 0;
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *to) {
    REAL(int, clock_gettime, clockid_t, struct timespec *);
    int result = real(clock, to);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) to->tv_sec += shift_s();
    return result;
}

int gettimeofday(struct timeval *to, void *zone) {
    struct timespec now;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    to->tv_sec = now.tv_sec;
    to->tv_usec = now.tv_nsec / 1000;
    return result;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
