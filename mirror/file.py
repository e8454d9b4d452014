"""One file of a repository: its bytes, and the two hashes that the Hub uses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

LFS_SUFFIXES = {".bin", ".data", ".flac", ".gguf", ".npz", ".onnx", ".safetensors", ".wav"}
LFS_SIZE = 10_000_000
BLOCK = 1 << 20


def is_lfs(name: str, size: int) -> bool:
    """Return whether a file is stored in LFS."""
    return size > LFS_SIZE or PurePosixPath(name).suffix in LFS_SUFFIXES


@dataclass(frozen=True)
class File:
    """Bytes, or a path that is read by ranges, and completely only for its hash.

    `digest` is its hash on the server: sha256 for an LFS file, git's sha1 for others. Without
    one it is computed on first use.
    """

    content: bytes | Path
    lfs: bool = False
    digest: str | None = None

    @classmethod
    def named(cls, name: str, content: bytes | Path) -> File:
        """Put a file into LFS if it is large, or if its suffix is one of weights or audio."""
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        return cls(content, is_lfs(name, size))

    @cached_property
    def size(self) -> int:
        """Return the number of bytes, as of the first call."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @cached_property
    def etag(self) -> str:
        """Return the sha256 of an LFS file, or git's hash."""
        if self.digest:
            return self.digest
        hasher = hashlib.sha256() if self.lfs else hashlib.sha1(b"blob %d\0" % self.size)
        for block in self.read():
            hasher.update(block)
        return hasher.hexdigest()

    @property
    def pointer(self) -> bytes:
        """Return git's pointer for an LFS file."""
        lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.etag}")
        return "\n".join((*lines, f"size {self.size}\n")).encode()

    @property
    def oid(self) -> str:
        """Return git's hash of the file or its pointer."""
        return File(self.pointer).etag if self.lfs else self.etag

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `start` to before `stop`, a block at a time."""
        stop = self.size if stop is None else stop
        if isinstance(self.content, bytes):
            for at in range(start, stop, BLOCK):
                yield self.content[at : min(at + BLOCK, stop)]
            return
        with self.content.open("rb") as file:
            file.seek(start)
            while start < stop and (block := file.read(min(BLOCK, stop - start))):
                yield block
                start += len(block)
