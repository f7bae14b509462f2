"""One program of a crowd: a mix of everything, in a directory of its own and in one that all share.

Arguments: directory of its own, shared directory, seed, seconds. Ends with one line of JSON: operations done, errors that no file system
may answer, and the microseconds of each operation by kind.
"""

import ctypes
import errno
import json
import mmap
import os
import random
import stat
import sys
import time

own, shared, seed, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
random.seed(seed)
libc = ctypes.CDLL(None, use_errno=True)
NAMES = 24
LARGEST = 1 << 18
KEEP_SIZE, PUNCH = 1, 2
# Others come and go in the shared directory, and chance names what cannot be.
LEGITIMATE = {
    errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP,
    errno.EPERM, errno.ENODATA, errno.ENXIO, errno.EOPNOTSUPP,
}


def path():
    place = own if random.random() < 0.5 else shared
    for _ in range(random.choice((0, 0, 1, 2))):
        place += f"/d{random.randrange(4)}"
    return f"{place}/{random.choice('fffd')}{random.randrange(NAMES)}"


def directory():
    return path().rsplit("/", 1)[0]


def subdirectory():
    return f"{directory()}/d{random.randrange(4)}"


class Regular:
    """A regular file that is open; anything else is refused, as reading a pipe would wait."""

    def __init__(self, flags):
        self.fd = os.open(path(), flags | os.O_NONBLOCK | os.O_NOFOLLOW, 0o644)
        if not stat.S_ISREG(os.fstat(self.fd).st_mode):
            os.close(self.fd)
            raise OSError(errno.EINVAL, "not a regular file")

    def __enter__(self):
        return self.fd

    def __exit__(self, *_):
        os.close(self.fd)


def create():
    with Regular(os.O_RDWR | os.O_CREAT):
        pass


def write():
    with Regular(os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, random.randbytes(random.choice((1, 100, 4096, 20000))), random.randrange(LARGEST))


def append():
    with Regular(os.O_WRONLY | os.O_CREAT | os.O_APPEND) as fd:
        os.write(fd, random.randbytes(random.choice((1, 100, 4096))))


def read():
    with Regular(os.O_RDONLY) as fd:
        os.pread(fd, 65536, random.randrange(LARGEST))


def fallocate():
    with Regular(os.O_RDWR) as fd:
        mode = random.choice((0, KEEP_SIZE, PUNCH | KEEP_SIZE))
        offset, length = ctypes.c_int64(random.randrange(LARGEST)), ctypes.c_int64(random.randrange(1, LARGEST))
        if libc.fallocate(fd, mode, offset, length):
            raise OSError(ctypes.get_errno(), "fallocate")


def copy():
    with Regular(os.O_RDONLY) as source, Regular(os.O_RDWR | os.O_CREAT) as target:
        os.copy_file_range(source, target, random.randrange(1, LARGEST))


def mapped():
    with Regular(os.O_RDWR) as fd:
        if (size := os.fstat(fd).st_size) == 0:
            raise OSError(errno.EINVAL, "empty")
        with mmap.mmap(fd, min(size, 65536)) as memory:
            # Whoever cuts the file meanwhile kills this program, so it is written through the descriptor.
            memory.flush()
            os.pwrite(fd, b"m", random.randrange(size))


def synced(how):
    def work():
        with Regular(os.O_RDWR) as fd:
            os.pwrite(fd, b"s", random.randrange(4096))
            how(fd)
    return work


def syncfs():
    fd = os.open(own, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(fd):
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(fd)


def times():
    moment = random.randrange(10**18)
    os.utime(path(), ns=(moment, moment), follow_symlinks=False)


MIX = [
    (8, "create", create), (12, "write", write), (4, "append", append), (12, "read", read), (6, "mkdir", lambda: os.mkdir(subdirectory())),
    (2, "mknod", lambda: os.mkfifo(path())), (4, "symlink", lambda: os.symlink("f1", path())),
    (4, "link", lambda: os.link(path(), path(), follow_symlinks=False)), (6, "rename", lambda: os.rename(path(), path())),
    (1, "rename directory", lambda: os.rename(subdirectory(), subdirectory())),
    (6, "unlink", lambda: os.unlink(path())), (2, "rmdir", lambda: os.rmdir(subdirectory())),
    (4, "truncate", lambda: os.truncate(path(), random.randrange(LARGEST)) if stat.S_ISREG(os.lstat(path()).st_mode) else None),
    (4, "fallocate", fallocate), (12, "stat", lambda: os.lstat(path())), (6, "getdents", lambda: os.listdir(directory())),
    (2, "fsync", synced(os.fsync)), (2, "fdatasync", synced(os.fdatasync)), (0.1, "syncfs", syncfs),
    (4, "setxattr", lambda: os.setxattr(path(), "user.a", b"v" * random.randrange(100), follow_symlinks=False)),
    (4, "getxattr", lambda: os.getxattr(path(), "user.a", follow_symlinks=False)),
    (4, "chmod", lambda: os.chmod(path(), random.choice((0o600, 0o644, 0o755)))), (4, "utimes", times),
    (3, "copy_file_range", copy), (2, "mmap", mapped),
]


def main():
    done, errors, waits = 0, {}, {name: [] for _, name, _ in MIX}
    weights = [weight for weight, _, _ in MIX]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _, name, work = random.choices(MIX, weights)[0]
        began = time.perf_counter_ns()
        try:
            work()
        except OSError as error:
            if error.errno not in LEGITIMATE:
                told = f"{name}: {errno.errorcode.get(error.errno, error.errno)}"
                errors[told] = errors.get(told, 0) + 1
        waits[name].append((time.perf_counter_ns() - began) // 1000)
        done += 1
    print(json.dumps({"done": done, "errors": errors, "waits": waits}))


main()
