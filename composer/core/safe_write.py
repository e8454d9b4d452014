"""Write files in untrusted folders: a link there is never written through."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path

LINK = "it is a link, and would be written through: remove it"
DEVICES = "/dev/"  # links such as /dev/stdout are the system's own
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def write_whole(path: Path, data: bytes, sync: bool = False, new: bool = False) -> None:
    """Write a file beside its place and move it there, so that it is whole or not there.

    With `sync` it is on the disk then, whatever happens to the machine. A pipe or device is written
    as it is; a pipe that nobody reads is not waited for. Raise OSError for a link, where it cannot
    be written, and for a `new` one where another is there.
    """
    if not is_regular_or_absent(path):
        with open(os.open(path, os.O_WRONLY | _NO_WAIT), "wb") as file:
            os.set_blocking(file.fileno(), True)
            file.write(data)
        return
    part = path.with_name(f".{path.name[:100]}.{os.urandom(4).hex()}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(part, flags, 0o666), "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        _move(part, path, new)
        if sync:
            _sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move(part: Path, path: Path, new: bool) -> None:
    """Move a file to its place; raise FileExistsError for a new one where another is there."""
    if new:
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:
            new = False  # a file system without links
    if new:
        part.unlink()
    else:
        part.replace(path)


def check_target(path: Path) -> None:
    """Raise OSError for a path where `write_whole` could write nothing: a link, or no folder."""
    if is_regular_or_absent(path) and not os.access(path.parent, os.W_OK):
        path.parent.stat()
        sealed = hasattr(os, "ST_RDONLY") and os.statvfs(path.parent).f_flag & os.ST_RDONLY
        code = errno.EROFS if sealed else errno.EACCES
        raise OSError(code, os.strerror(code))


def open_regular_file(path: Path) -> FileIO:
    """Open a file for reading and writing, made where it is not there; raise OSError for a link."""
    is_regular_or_absent(path)
    flags = os.O_RDWR | os.O_CREAT | _NO_LINK | getattr(os, "O_BINARY", 0)
    return FileIO(os.open(path, flags, 0o666), "r+")


def write_cache_file(path: Path, data: str | bytes = b"") -> None:
    """Write a small file that spares work the next time; where it cannot be written, it does not.

    Its folder is made. Nobody ever reads half of it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, str):
            data = data.encode()
        write_whole(path, data)
    except OSError:
        return


def append_to(path: Path, data: bytes) -> None:
    """Write at the end of a file; raise OSError for a link, and where it cannot be written.

    A pipe that nobody reads is not waited for.
    """
    follow = _NO_LINK if is_regular_or_absent(path) else 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | follow | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags | _NO_WAIT, 0o666), "ab", buffering=0) as file:
        os.set_blocking(file.fileno(), True)
        before = os.fstat(file.fileno()).st_size
        written = 0
        try:
            while written < len(data):
                written += file.write(data[written:])
        except OSError:
            if follow:
                file.truncate(before)  # no half of a line stays
                if not before:
                    path.unlink(missing_ok=True)  # and no empty file
            raise


def is_regular_or_absent(path: Path) -> bool:
    """Return whether a regular file is there, or nothing; raise OSError for a link or folder."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISLNK(mode):
        if str(path).startswith(DEVICES) or path.is_char_device():
            return False
        raise OSError(errno.ELOOP, LINK)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return stat.S_ISREG(mode)
