"""Read byte ranges of a file on the Hub, and keep them for the next time."""

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
from composer.core.own_files import write_note
from composer.formats.files import LocalFiles
from composer.formats.ranges import Ranges
from composer.sources.hub import settings
from composer.sources.hub.cache import local
from composer.sources.hub.client import get
from composer.sources.hub.response import check_answer, check_span
from composer.sources.hub.run_parallel import run_parallel
from composer.sources.hub.snapshots import Snapshot
from composer.sources.hub.transfer import fetch_file
from composer.sources.hub.tree import HubFile
from composer.sources.hub.trouble import ConnectionLost, broken, is_network, refused

BLOCK = 20_480  # a hop over a tensor reads 16 KiB of it, twice, from starts that differ a little
FIRST = 65_536
AHEAD = 1 << 20  # at most this is read before it is asked for
MOST = 160_000_000  # the largest header, and some
REQUESTS = 20_000
TRIES = 3
AT_ONCE, SHARDS = 8, 256
SECONDS = 30.0
SMALL = 64_000_000
WHOLE = (".json", ".yaml", ".lock")


class HubRanges:
    """The bytes of one file: small ones come whole and verified, of large ones only what is read.

    What is read in ranges is not verified: `check` reads so, and whoever loads a file has it whole.
    """

    def __init__(self, location: Location, snapshot: Snapshot, file: HubFile) -> None:
        self.location = location
        self.snapshot = snapshot
        self.file = file
        self.size = file.size
        self.place = _place(snapshot, file)
        self.whole: Ranges | None = None
        self.pieces: list[tuple[int, bytes]] = []
        self.held = self.fetched = self.requests = 0
        self.end = -1
        self.ahead = FIRST
        self.address: str | None = None
        self._remembered()

    def read(self, offset: int, n: int) -> bytes:
        """Return exactly n bytes."""
        if offset < 0 or n < 0 or offset + n > self.size:
            refused("S419", f"{self.location} ends at {self.size}, before byte {offset + n}")
        if n and is_small(self.file):
            return self._whole().read(offset, n)
        data = b""
        while len(data) < n:
            at = offset + len(data)
            start, piece = self._piece(at) or self._fetch(at, n - len(data))
            data += piece[at - start : at - start + n - len(data)]
        return data

    def _whole(self) -> Ranges:
        if self.whole is None:
            fetch_file(self.snapshot, self.file)
            self.whole = LocalFiles().open(self.location)
        return self.whole

    def _piece(self, at: int) -> tuple[int, bytes] | None:
        index = bisect_right(self.pieces, at, key=lambda piece: piece[0]) - 1
        if index < 0:
            return None
        start, data = self.pieces[index]
        return (start, data) if at < start + len(data) else None

    def _fetch(self, at: int, n: int) -> tuple[int, bytes]:
        """Ask for what is missing, and more where the file is read from end to end."""
        self.ahead = min(self.ahead * 2, AHEAD) if at == self.end else FIRST if at == 0 else BLOCK
        index = bisect_right(self.pieces, at, key=lambda piece: piece[0])
        until = self.pieces[index][0] if index < len(self.pieces) else self.size
        length = min(max(n, self.ahead), until - at)
        self.requests += 1
        if self.fetched + length > MOST or self.requests > REQUESTS:
            refused("S416", f"{self.location}: its headers are larger than {MOST} bytes")
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
                with get(address or url, headers={"Range": f"bytes={at}-{last}"}) as answer:
                    if address is None:
                        check_answer(answer, self.snapshot, self.file)
                    check_span(answer, at, last, self.file)
                    until = time.monotonic() + SECONDS + length / 100_000
                    data = answer.body(length, until)
                    self.address = answer.url
            except ConnectionLost as cut:
                if cut.timeout or attempt == TRIES - 1:
                    broken(url, cut)
                continue
            except ComposerError as error:
                if address and is_network(error):
                    continue
                raise
            if len(data) == length:
                return data
        return refused("S437", f"{url} sends fewer bytes than the {length} that were asked for")

    def _remembered(self) -> None:
        try:
            data = self.place.read_bytes()
            line, _, rest = data.partition(b"\n")
            at = 0
            for start, length in json.loads(line):
                self.pieces.append((start, rest[at : at + length]))
                at += length
            if at != len(rest) or self.pieces != sorted(self.pieces):
                raise ValueError
        except (OSError, ValueError, TypeError):
            self.pieces = []
        self.held = len(self.pieces)

    def __enter__(self) -> HubRanges:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.whole is not None:
            self.whole.__exit__(None, None, None)
        if isinstance(error, ComposerError):
            # Nothing vouches for these bytes: they may be a proxy's, and be right the next time.
            with suppress(OSError):
                self.place.unlink(missing_ok=True)
            return
        if len(self.pieces) == self.held:
            return
        index = json.dumps([[start, len(data)] for start, data in self.pieces]).encode()
        write_note(self.place, index + b"\n" + b"".join(data for _, data in self.pieces))


def is_small(file: HubFile) -> bool:
    """Tell whether a file comes whole where its bytes are asked for."""
    return file.path.endswith(WHOLE) and file.size <= SMALL


def warm(snapshot: Snapshot, shards: Iterable[HubFile]) -> None:
    """Read the headers of many shards at once, for whoever reads them one by one.

    What is wrong with one is left for its reader to find.
    """

    def read(file: HubFile) -> None:
        if local(snapshot, file) or file.size < 8:
            return
        location = Location(snapshot.repo, file.path, snapshot.root)
        with suppress(ComposerError), HubRanges(location, snapshot, file) as opened:
            (length,) = struct.unpack("<Q", opened.read(0, 8))
            if length <= min(AHEAD, file.size - 8):
                opened.read(8, length)

    run_parallel(read, list(shards)[:SHARDS], AT_ONCE)


def _place(snapshot: Snapshot, file: HubFile) -> Path:
    return settings.notes() / settings.folder_name(snapshot.repo) / "ranges" / file.digest
