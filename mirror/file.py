"""One file of a repository: its bytes, and the two hashes by which the Hub knows it."""

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
    """Tell whether a file is kept in LFS."""
    return size > LFS_SIZE or PurePosixPath(name).suffix in LFS_SUFFIXES


@dataclass(frozen=True)
class File:
    """Bytes, or a path that is read by ranges and never whole but to be hashed.

    `digest` is what the server says of it: sha256 of an LFS file, git's sha1 of another. Without
    one it is computed when it is first asked for.
    """

    content: bytes | Path
    lfs: bool = False
    digest: str | None = None

    @classmethod
    def named(cls, name: str, content: bytes | Path) -> File:
        """Put a file into LFS if it is large, or of a suffix that holds weights or audio."""
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        return cls(content, is_lfs(name, size))

    @cached_property
    def size(self) -> int:
        """Count the bytes, as they were when first asked."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @cached_property
    def etag(self) -> str:
        """Give the sha256 of an LFS file, or git's hash."""
        if self.digest:
            return self.digest
        hasher = hashlib.sha256() if self.lfs else hashlib.sha1(b"blob %d\0" % self.size)
        for block in self.read():
            hasher.update(block)
        return hasher.hexdigest()

    @property
    def pointer(self) -> bytes:
        """Write what git keeps in place of an LFS file."""
        lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.etag}")
        return "\n".join((*lines, f"size {self.size}\n")).encode()

    @property
    def oid(self) -> str:
        """Give git's hash of what git keeps."""
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
