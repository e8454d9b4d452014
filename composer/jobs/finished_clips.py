"""Remember which clips of a folder are transcribed: of which bytes, and by what."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from composer.core.errors import ComposerError, Place, Problem
from composer.core.journal import require_same_run
from composer.core.output import append_text, unwritable, write_file
from composer.core.safe_read import RESULTS, read_whole


@dataclass(frozen=True)
class FinishedClip:
    """A clip whose transcript was written: its name, the digests of both, and of the settings.

    `key` is what differs between all clips of a folder.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    key: str
    clip: str
    sha256: str | None
    written: str
    settings: str


_LINE = TypeAdapter(FinishedClip)


class FinishedClips:
    """The file of a folder that says what its transcripts were made of.

    It grows by a line for each clip; before the first line of a run stand its settings, unless they
    stand there already. Of two lines of one key the last is true.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        """Read what earlier runs left; raise R571 for a file that is something else."""
        self.path = path
        self.made_by: dict[str, Any] = json.loads(json.dumps(made_by))
        self._settings: dict[str, dict[str, Any]] = {}  # of each run, by their digest
        self._finished: dict[str, FinishedClip] = {}
        if os.path.lexists(path):
            self._read()

    def get(self, key: str) -> FinishedClip | None:
        """Return what was written last under a key."""
        return self._finished.get(key)

    def require_same_settings(self, finished: FinishedClip) -> None:
        """Raise R570 if a clip was finished with other settings than those of this run."""
        require_same_run(self.path, self._settings[finished.settings], self.made_by)

    def written(self) -> set[str]:
        """Return the digests of all transcripts that were written."""
        return {each.written for each in self._finished.values()}

    def add(self, key: str, clip: str, sha256: str | None, text: str) -> None:
        """Remember a clip whose transcript was written as `text`."""
        settings = text_digest(json.dumps(self.made_by, sort_keys=True))
        lines = []
        if settings not in self._settings:
            self._settings[settings] = self.made_by
            lines.append({"settings": settings, "made_by": self.made_by})
        found = FinishedClip(key, clip, sha256, text_digest(text), settings)
        self._finished[key] = found
        lines.append(asdict(found))
        append_text(self.path, "".join(f"{json.dumps(line)}\n" for line in lines))

    def _read(self) -> None:
        """Read the complete lines, and drop one that a killed run left half."""
        if self.path.is_symlink() or not self.path.is_file():
            raise self._refused()
        try:
            data = read_whole(self.path, RESULTS)
        except OSError as error:
            raise unwritable(self.path, error) from None
        complete = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(complete.splitlines(), 1):
            self._read_line(number, line)
        if complete != data:
            write_file(self.path, complete)

    def _read_line(self, number: int, line: bytes) -> None:
        try:
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry.get("made_by"), dict):
                self._settings[str(entry.get("settings"))] = entry["made_by"]
                return
            found = _LINE.validate_json(line)
        except (ValueError, RecursionError, ValidationError):
            raise self._refused(number) from None
        if found.settings not in self._settings:
            raise self._refused(number)
        self._finished[found.key] = found

    def _refused(self, line: int | None = None) -> ComposerError:
        message = "this is not what composer transcribe remembers of its runs"
        hint = "remove the file, or take another folder"
        return ComposerError(Problem("R571", message, Place(str(self.path), line), hint=hint))


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text as it is written."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
