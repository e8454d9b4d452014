"""Read byte ranges of a file on the Hub, and store them for later."""

from __future__ import annotations

import json
import struct
import time
from bisect import bisect_right, insort
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.safe_write import write_cache_file
from composer.formats.byte_ranges import ByteRanges
from composer.formats.files import LocalFiles
from composer.sources.hub import settings
from composer.sources.hub.cache import cached_path
from composer.sources.hub.client import open_url
from composer.sources.hub.errors import (
    ConnectionLost,
    is_connection_failure,
    raise_connection_lost,
    raise_refused,
)
from composer.sources.hub.response import check_range, check_response_headers
from composer.sources.hub.run_parallel import run_parallel
from composer.sources.hub.snapshots import Snapshot
from composer.sources.hub.transfer import fetch_file
from composer.sources.hub.tree import HubFile

BLOCK = 20_480  # a hop over a tensor reads 16 KiB of it, twice, from starts that differ a little
FIRST = 65_536
AHEAD = 1 << 20  # at most this is read before it is asked for
MOST = 160_000_000  # the largest header, and some
REQUESTS = 20_000
TRIES = 3
AT_ONCE, SHARDS = 8, 256
SECONDS = 30.0
SMALL = 64_000_000
WHOLE = (".json", ".yaml", ".lock", ".txt")


class HubRanges:
    """The bytes of one file: small ones are downloaded and verified, large ones are read by ranges.

    Ranges are not verified: only `check` reads them; loading uses complete, verified files.
    """

    def __init__(self, location: Location, snapshot: Snapshot, file: HubFile) -> None:
        self.location = location
        self.snapshot = snapshot
        self.file = file
        self.size = file.size
        self.note = _note(snapshot, file)
        self.complete: ByteRanges | None = None
        self.pieces: list[tuple[int, bytes]] = []
        self.stored_pieces = self.fetched = self.requests = 0
        self.end = -1
        self.ahead = FIRST
        self.address: str | None = None
        self._load()

    def read(self, offset: int, n: int) -> bytes:
        """Return exactly n bytes."""
        if offset < 0 or n < 0 or offset + n > self.size:
            raise_refused("S419", f"{self.location} ends at {self.size}, before byte {offset + n}")
        if n and is_small(self.file):
            return self._complete().read(offset, n)
        data = b""
        while len(data) < n:
            at = offset + len(data)
            start, piece = self._piece(at) or self._fetch(at, n - len(data))
            data += piece[at - start : at - start + n - len(data)]
        return data

    def _complete(self) -> ByteRanges:
        if self.complete is None:
            fetch_file(self.snapshot, self.file)
            self.complete = LocalFiles().open(self.location)
        return self.complete

    def _piece(self, at: int) -> tuple[int, bytes] | None:
        index = bisect_right(self.pieces, at, key=lambda piece: piece[0]) - 1
        if index < 0:
            return None
        start, data = self.pieces[index]
        return (start, data) if at < start + len(data) else None

    def _fetch(self, at: int, n: int) -> tuple[int, bytes]:
        """Request missing bytes, and read ahead if the file is read sequentially."""
        if at == self.end:
            self.ahead = min(self.ahead * 2, AHEAD)
        else:
            self.ahead = FIRST if at == 0 else BLOCK
        index = bisect_right(self.pieces, at, key=lambda piece: piece[0])
        until = self.pieces[index][0] if index < len(self.pieces) else self.size
        length = min(max(n, self.ahead), until - at)
        self.requests += 1
        if self.fetched + length > MOST or self.requests > REQUESTS:
            raise_refused("S416", f"{self.location}: its headers are larger than {MOST} bytes")
        data = self._get(at, length)
        piece = (at, data)
        insort(self.pieces, piece, key=lambda piece: piece[0])
        self.fetched += length
        self.end = at + length
        return piece

    def _get(self, at: int, length: int) -> bytes:
        url, last = self.snapshot.url(self.file.path), at + length - 1
        for attempt in range(TRIES):
            # Where the Hub pointed to once, the next range is too: half the requests.
            address, self.address = self.address, None
            try:
                span = {"Range": f"bytes={at}-{last}"}
                with open_url(
                    address or url, headers=span, offline=self.snapshot.offline
                ) as answer:
                    if address is None:
                        check_response_headers(answer, self.snapshot, self.file)
                    check_range(answer, at, last, self.file)
                    until = time.monotonic() + SECONDS + length / 100_000
                    data = answer.body(length, until)
                    self.address = answer.url
            except ConnectionLost as lost:
                if lost.timeout or attempt == TRIES - 1:
                    raise_connection_lost(url, lost)
                continue
            except ComposerError as error:
                if address and is_connection_failure(error):
                    continue
                raise
            if len(data) == length:
                return data
        return raise_refused(
            "S437", f"{url} sends fewer bytes than the {length} that were requested"
        )

    def _load(self) -> None:
        try:
            data = self.note.read_bytes()
            line, _, rest = data.partition(b"\n")
            at = 0
            for start, length in json.loads(line):
                self.pieces.append((start, rest[at : at + length]))
                at += length
            if at != len(rest) or self.pieces != sorted(self.pieces):
                raise ValueError
        except (OSError, ValueError, TypeError):
            self.pieces = []
        self.stored_pieces = len(self.pieces)

    def __enter__(self) -> HubRanges:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.complete is not None:
            self.complete.__exit__(None, None, None)
        if isinstance(error, ComposerError):
            # Nothing vouches for these bytes: they may be a proxy's, and be right the next time.
            with suppress(OSError):
                self.note.unlink(missing_ok=True)
            return
        if len(self.pieces) == self.stored_pieces:
            return
        index = json.dumps([[start, len(data)] for start, data in self.pieces]).encode()
        write_cache_file(self.note, index + b"\n" + b"".join(data for _, data in self.pieces))


def is_small(file: HubFile) -> bool:
    """Return whether a file is downloaded completely when it is read."""
    return file.path.endswith(WHOLE) and file.size <= SMALL


def prefetch_headers(snapshot: Snapshot, shards: Iterable[HubFile]) -> None:
    """Read the headers of many shards in parallel, before they are read one by one.

    Errors are left to the later reads.
    """

    def read(file: HubFile) -> None:
        if cached_path(snapshot, file) or file.size < 8:
            return
        location = Location(snapshot.repo, file.path, snapshot.root)
        with suppress(ComposerError), HubRanges(location, snapshot, file) as opened:
            (length,) = struct.unpack("<Q", opened.read(0, 8))
            if length <= min(AHEAD, file.size - 8):
                opened.read(8, length)

    run_parallel(read, list(shards)[:SHARDS], AT_ONCE)


def _note(snapshot: Snapshot, file: HubFile) -> Path:
    return settings.notes_folder() / settings.folder_name(snapshot.repo) / "ranges" / file.digest
