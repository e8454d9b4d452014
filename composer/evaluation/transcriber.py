"""Run a bundle on clips, several at once, with each failure in its place."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import group_lines
from composer.evaluation.journal import Transcript
from composer.evaluation.utterance import Utterance
from composer.formats.audio.channels import Channel
from composer.formats.audio.waveform import Audio, Channels

if TYPE_CHECKING:
    from composer.runtime.bundle import Bundle
    from composer.runtime.result import Result

Details = Callable[[Audio | Channels, "Result"], dict[str, Any]]


@dataclass(frozen=True)
class Transcriber:
    """A bundle's task with the input that takes audio and the output that is the transcript.

    `taps` are values of a run that `details` wants: it makes fields of the transcript, such as
    `words`, of the audio and the result of a clip.
    """

    bundle: Bundle
    task: str
    audio: str
    text: str
    inputs: Mapping[str, Any]
    options: Mapping[str, Mapping[str, Any]]
    jobs: int = 1
    channel: Channel = "mix"
    partial: bool = False
    taps: tuple[str, ...] = ()
    details: Details = lambda audio, result: {}

    def transcribe(self, clips: Iterable[Utterance]) -> Iterator[Transcript]:
        """Yield each clip's transcript, in order; a failed clip does not stop the others."""
        pending: deque[_Pending] = deque()

        def items() -> Iterator[dict[str, Any]]:
            for clip in clips:
                digest = None
                try:
                    digest = _sha256(clip)
                    audio = clip.audio(self.channel, self.partial)
                except ComposerError as error:
                    pending.append(_Pending(clip, digest, error=error))
                    continue
                pending.append(_Pending(clip, digest, audio))
                yield {**self.inputs, self.audio: audio}

        results = self.bundle.map(
            items(), in_flight=self.jobs, task=self.task, options=self.options, taps=self.taps
        )
        for result in results:
            while pending[0].error:
                yield pending.popleft().failed()
            clip = pending.popleft()
            if isinstance(result, ComposerError):
                yield replace(clip, error=result).failed()
            else:
                yield self.transcript(clip, result)
        while pending:
            yield pending.popleft().failed()

    def transcript(self, each: _Pending, result: Result) -> Transcript:
        """Return what a run gave of a clip."""
        assert each.audio is not None
        details = self.details(each.audio, result)
        return Transcript(
            each.clip.id,
            each.digest,
            each.seconds,
            each.clip.reference,
            str(result.outputs[self.text]),
            result.finish_reason,
            result.tokens,
            notes=[*result.notes, *details.pop("notes", ())] or None,
            **details,
        )


@dataclass(frozen=True)
class _Pending:
    """A clip that runs, or that cannot be read."""

    clip: Utterance
    digest: str | None
    audio: Audio | Channels | None = None
    error: ComposerError | None = None

    @property
    def seconds(self) -> float | None:
        return round(self.audio.seconds, 6) if self.audio else None

    def failed(self) -> Transcript:
        assert self.error is not None
        problems = []
        for each in self.error.problems:
            causes = list(each.causes)
            problems.append(
                {"code": each.code, "message": each.message, "causes": causes, "hint": each.hint}
            )
        clip = self.clip
        return Transcript(clip.id, self.digest, self.seconds, clip.reference, error=problems)


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
