"""Run a bundle on clips, a few at once, each failure in its place."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import listed
from composer.evaluation.data import Utterance
from composer.evaluation.journal import Transcript

if TYPE_CHECKING:
    from composer.runtime.bundle import Bundle
    from composer.runtime.run import Result


@dataclass(frozen=True)
class Listener:
    """A bundle's task as an evaluation runs it: where audio goes in, and which text comes out."""

    bundle: Bundle
    task: str
    audio: str
    text: str
    inputs: Mapping[str, Any]
    options: Mapping[str, Mapping[str, Any]]
    jobs: int = 1

    def hear(self, clips: Iterable[Utterance]) -> Iterator[Transcript]:
        """Yield what each clip gave, in order; a problem of one stops no other."""
        waiting: deque[tuple[Utterance, str | None, float | None, ComposerError | None]] = deque()

        def items() -> Iterator[dict[str, Any]]:
            for clip in clips:
                seen = None
                try:
                    seen = sha256(clip)
                    audio = clip.audio()
                except ComposerError as error:
                    waiting.append((clip, seen, None, error))
                    continue
                waiting.append((clip, seen, round(audio.seconds, 6), None))
                yield {**self.inputs, self.audio: audio}

        results = self.bundle.map(
            items(), in_flight=self.jobs, task=self.task, options=self.options
        )
        for result in results:
            while waiting[0][3]:
                yield _failed(*waiting.popleft())
            clip, seen, seconds, _ = waiting.popleft()
            if isinstance(result, ComposerError):
                yield _failed(clip, seen, seconds, result)
            else:
                yield self.heard(clip, seen, seconds, result)
        while waiting:
            yield _failed(*waiting.popleft())

    def heard(
        self, clip: Utterance, seen: str | None, seconds: float | None, result: Result
    ) -> Transcript:
        said = str(result.outputs[self.text])
        return Transcript(
            clip.id, seen, seconds, clip.reference, said, result.finish_reason, result.tokens
        )


def resumed(
    clips: Iterable[Utterance], heard: Mapping[str, Transcript], path: Path
) -> dict[str, Transcript]:
    """Return what was heard before and needs not be again: all but failures.

    Raise R575 where a clip, its file or its reference is not what it was.
    """
    by_id = {clip.id: clip for clip in clips}
    kept = {name: each for name, each in heard.items() if each.hypothesis is not None}
    gone = [name for name in heard if name not in by_id]
    changed = [
        name
        for name, each in kept.items()
        if name in by_id
        and (each.reference != by_id[name].reference or each.sha256 != sha256(by_id[name]))
    ]
    causes = [
        f"{len(names)} {what}: {listed(names)}"
        for what, names in (("no longer in it", gone), ("of other audio or text", changed))
        if names
    ]
    if causes:
        message = "the results here are of other data"
        hint = "take another folder, or delete these lines"
        raise ComposerError(Problem("R575", message, Place(str(path)), tuple(causes), hint))
    return kept


def sha256(clip: Utterance) -> str:
    """Return the digest of a clip's file; raise S480 where it cannot be read."""
    try:
        with clip.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        why = f"the audio cannot be opened: {error.strerror}"
        raise ComposerError(Problem("S480", why, Place(str(clip.path)))) from None


def _failed(
    clip: Utterance, seen: str | None, seconds: float | None, error: ComposerError | None
) -> Transcript:
    assert error is not None
    problems = [
        {"code": each.code, "message": each.message, "causes": list(each.causes), "hint": each.hint}
        for each in error.problems
    ]
    return Transcript(clip.id, seen, seconds, clip.reference, error=problems)
