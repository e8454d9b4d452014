"""Run a bundle on clips, several at once, with each failure in its place."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import group_lines
from composer.evaluation.journal import Transcript
from composer.evaluation.utterance import Utterance
from composer.formats.audio.channels import Channel

if TYPE_CHECKING:
    from composer.runtime.bundle import Bundle
    from composer.runtime.result import Result


@dataclass(frozen=True)
class Transcriber:
    """A bundle's task with the input that takes audio and the output that is the transcript."""

    bundle: Bundle
    task: str
    audio: str
    text: str
    inputs: Mapping[str, Any]
    options: Mapping[str, Mapping[str, Any]]
    jobs: int = 1
    channel: Channel = "mix"
    partial: bool = False

    def transcribe(self, clips: Iterable[Utterance]) -> Iterator[Transcript]:
        """Yield each clip's transcript, in order; a failed clip does not stop the others."""
        pending: deque[tuple[Utterance, str | None, float | None, ComposerError | None]] = deque()

        def items() -> Iterator[dict[str, Any]]:
            for clip in clips:
                digest = None
                try:
                    digest = _sha256(clip)
                    audio = clip.audio(self.channel, self.partial)
                except ComposerError as error:
                    pending.append((clip, digest, None, error))
                    continue
                pending.append((clip, digest, round(audio.seconds, 6), None))
                yield {**self.inputs, self.audio: audio}

        results = self.bundle.map(
            items(), in_flight=self.jobs, task=self.task, options=self.options
        )
        for result in results:
            while pending[0][3]:
                yield _failed(*pending.popleft())
            clip, digest, seconds, _ = pending.popleft()
            if isinstance(result, ComposerError):
                yield _failed(clip, digest, seconds, result)
            else:
                yield self.transcript(clip, digest, seconds, result)
        while pending:
            yield _failed(*pending.popleft())

    def transcript(
        self, clip: Utterance, digest: str | None, seconds: float | None, result: Result
    ) -> Transcript:
        hypothesis = str(result.outputs[self.text])
        return Transcript(
            clip.id,
            digest,
            seconds,
            clip.reference,
            hypothesis,
            result.finish_reason,
            result.tokens,
            notes=list(result.notes) or None,
        )


def reusable_transcripts(
    clips: Iterable[Utterance], transcripts: Mapping[str, Transcript], path: Path
) -> dict[str, Transcript]:
    """Return the earlier transcripts that can be reused: all but failures.

    Raise R575 if a clip, its file or its reference changed.
    """
    by_id = {clip.id: clip for clip in clips}
    reused = {}
    removed, changed = [], []
    for name, each in transcripts.items():
        clip = by_id.get(name)
        if clip is None:
            removed.append(name)
        if each.hypothesis is None:
            continue
        reused[name] = each
        if clip and (
            each.reference != clip.reference
            or each.sha256 != _sha256(clip)
            or clip.is_changed(each.seconds)
        ):
            changed.append(name)
    causes = group_lines({"no longer in it": removed, "of other audio or text": changed})
    if causes:
        message = "these results are of other data"
        hint = "use another folder, or delete these lines"
        raise ComposerError(Problem("R575", message, Place(str(path)), tuple(causes), hint))
    return reused


def _sha256(clip: Utterance) -> str:
    """Return the digest of a clip's file; raise S480 if it cannot be read."""
    try:
        with clip.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        why = f"the audio cannot be opened: {error.strerror}"
        raise ComposerError(Problem("S480", why, Place(str(clip.path)))) from None


def _failed(
    clip: Utterance, digest: str | None, seconds: float | None, error: ComposerError | None
) -> Transcript:
    assert error is not None
    problems = []
    for each in error.problems:
        causes = list(each.causes)
        problems.append(
            {"code": each.code, "message": each.message, "causes": causes, "hint": each.hint}
        )
    return Transcript(clip.id, digest, seconds, clip.reference, error=problems)
