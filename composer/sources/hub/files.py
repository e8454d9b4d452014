"""Read files of the Hub from the cache or remotely."""

from __future__ import annotations

import re
from pathlib import Path

from composer.core.location import Location
from composer.formats.byte_ranges import ByteRanges
from composer.formats.file_problems import refuse, show
from composer.formats.files import Files, Kind, LocalFiles, raise_missing
from composer.sources.hub.cache import cached_path
from composer.sources.hub.errors import raise_network_error
from composer.sources.hub.ranges import HubRanges, is_small, prefetch_headers
from composer.sources.hub.snapshots import snapshot_of

DATA = re.compile(r".*\.(?:safetensors|json|onnx|gguf)|(?:.*/)?merges\.txt", re.S)
MANIFEST = re.compile(r"bundle\.(?:yaml|json|lock)")
SERIES = re.compile(r"(.*)-\d+-of-\d+\.safetensors", re.S)
MOST_WHOLE = 10**9  # bytes of files that a check reads from end to end
EXTERNAL = re.compile(r".*(?:\.onnx_data(?:_\d+)?|\.data)", re.S)


class HubFiles:
    """Files of registered snapshots, from the cache or by ranges; all other files from disk."""

    def __init__(self) -> None:
        self.local = LocalFiles()
        self.whole = 0
        self.warmed: set[tuple[Path, str]] = set()

    def kind(self, location: Location) -> Kind | None:
        """Return the kind of a path, or None."""
        found = snapshot_of(location)
        if found is None:
            return self.local.kind(location)
        snapshot, path = found
        if path in snapshot.files:
            return "file"
        if path in snapshot.folders:
            return "folder"
        return None

    def names(self, location: Location) -> tuple[str, ...]:
        """List a folder, sorted."""
        found = snapshot_of(location)
        if found is None:
            return self.local.names(location)
        snapshot, path = found
        if path not in snapshot.folders:
            raise_missing(self, location)
        return snapshot.folders[path]

    def open(self, location: Location, within: Location | None = None) -> ByteRanges:
        """Open a file for reading; refuse a kind of file that is never downloaded."""
        found = snapshot_of(location)
        if found is None:
            return self.local.open(location, within)
        snapshot, path = found
        if path not in snapshot.files and snapshot.partial:
            raise_network_error(
                "S499", f"{snapshot.repo}/{path} is not in the cache, and HF_HUB_OFFLINE is set"
            )
        if path not in snapshot.files:
            raise_missing(self, location)
        check_file_kind(location, path, external=within is not None)
        file = snapshot.files[path]
        if cached_path(snapshot, file):
            return self.local.open(location, within)

        self.whole += file.size if is_small(file) else 0
        if self.whole > MOST_WHOLE:
            message = f"more than {MOST_WHOLE / 1e9:g} GB of configs and tokenizers would be read"
            refuse(location, "S416", message, hint="no bundle needs so many: it may be hostile")
        series = SERIES.fullmatch(path)
        if series and (snapshot.root, series[1]) not in self.warmed:
            self.warmed.add((snapshot.root, series[1]))
            shards = []
            for name, each in snapshot.files.items():
                match = SERIES.fullmatch(name)
                if match and match[1] == series[1]:
                    shards.append(each)
            prefetch_headers(snapshot, shards)
        return HubRanges(location, snapshot, file)


def check_file_kind(location: Location, path: str, external: bool) -> None:
    """Refuse files that may be more than data: only types that are read here are downloaded."""
    if DATA.fullmatch(path) or MANIFEST.fullmatch(path):
        return
    if external and EXTERNAL.fullmatch(path):
        return
    hint = (
        "fetched are .safetensors, .json, .onnx, .gguf, merges.txt, and an ONNX file's .data or "
        ".onnx_data"
    )
    refuse(location, "S417", f"{show(path)} is a type of file that is never downloaded", hint=hint)


_: type[Files] = HubFiles
