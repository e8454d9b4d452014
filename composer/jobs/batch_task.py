"""The speech task of a batch: what each of its workers loads, and makes of a clip."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.core.native_failures import describe_error, is_failure
from composer.core.output import json_text
from composer.core.placement import Placement
from composer.corpus.clip import CorpusClip, ParquetCell
from composer.corpus.row import Row, failed_row
from composer.corpus.worker import RunClip
from composer.formats.audio.channels import Channel
from composer.formats.audio.digest import source_digest
from composer.formats.audio.reading import Source
from composer.jobs.bundle import Options
from composer.jobs.output_format import transcription_json
from composer.jobs.speech import SpeechTask, speech_task
from composer.runtime.bundle import Bundle
from composer.runtime.opening import BundleOptions

THREADS = "threads"  # the placement key of backends that divide an operation


@dataclass(frozen=True)
class BatchTask:
    """A speech task as processes and machines are sent it.

    `identity` is what the process that sends it knows of the bundle and of what runs it: a worker
    that finds anything else, on a machine with other files or versions, refuses.
    """

    bundle: BundleOptions
    task: str
    inputs: Mapping[str, Any]
    options: Options
    channel: Channel
    partial: bool
    in_flight: int
    identity: Mapping[str, Any]

    @classmethod
    def of(cls, speech: SpeechTask, bundle: BundleOptions, in_flight: int) -> BatchTask:
        """Return the task of a bundle that was opened here by such options."""
        return cls(
            bundle,
            speech.graph.task,
            speech.inputs,
            speech.options,
            speech.channel,
            speech.partial,
            in_flight,
            _identity(speech),
        )

    def load(self, threads: int) -> RunClip:
        """Load the bundle, and return what transcribes a clip; raise ComposerError."""
        opened = _open(self.bundle, threads)
        speech = speech_task(
            opened, self.task, self.inputs, self.options, self.channel, self.partial
        )
        self._require_same(_identity(speech))
        opened.load(self.task)
        return ClipTranscriber(speech).row

    def _require_same(self, found: Mapping[str, Any]) -> None:
        causes = []
        for key, expected in self.identity.items():
            if found[key] != expected:
                causes.append(f"{key}: {json_text(expected, None)}, {json_text(found[key], None)}")
        if causes:
            message = "a worker has another bundle, or other versions, than its driver"
            hint = "install the same packages and bundle on all machines"
            raise ComposerError(Problem("R588", message, causes=tuple(causes), hint=hint))


def _identity(speech: SpeechTask) -> dict[str, Any]:
    """Return what rows depend on, wherever files are and however many threads there are."""
    made_by = json.loads(json.dumps(speech.made_by()))
    bundle = made_by["bundle"]
    return {
        "bundle": {**bundle, "files": sorted(bundle["files"].values())},
        "versions": made_by["versions"],
    }


def _open(options: BundleOptions, threads: int) -> Bundle:
    """Open the bundle with so many threads, unless the user gave it others."""
    opened = options.open()
    default = opened.profile.default
    reads = [known.cls.placement_keys for known in opened.checked.components.values()]
    if default.get(THREADS) is not None or not any(THREADS in keys for keys in reads):
        return opened
    shared = replace(opened.profile, default=default.over(Placement(threads=threads)))
    return Bundle(opened.checked, shared, options.trust)


@dataclass(frozen=True)
class ClipTranscriber:
    """Makes a clip a row, in any thread; the decoder continues the clips of all threads together.

    The results are those of `bundle.map`.
    """

    speech: SpeechTask

    def row(self, clip: CorpusClip) -> Row:
        """Return the row of a clip, with its problems where it failed."""
        audio = clip.audio
        assert not isinstance(audio, ParquetCell)
        digest = source_digest(audio)
        try:
            return self._transcribed(clip, audio, digest)
        except ComposerError as error:
            return failed_row(clip.id, error, digest)
        except BaseException as error:
            if not is_failure(error):
                raise
            problem = Problem("R500", f"the run failed: {describe_error(error)}")
            return failed_row(clip.id, ComposerError(problem), digest)

    def _transcribed(self, clip: CorpusClip, source: Source, digest: str | None) -> Row:
        speech = self.speech
        audio: Any = speech.clip(source)
        if clip.part.is_stated:
            audio = clip.part.read(audio, speech.channel, clip.id)
        (result,) = speech.bundle.map(
            [{**speech.inputs, speech.audio: audio}],
            in_flight=1,
            task=speech.graph.task,
            options=speech.options,
            taps=speech.taps,
        )
        made = speech.transcription(source, result)
        if made.problems:
            return failed_row(clip.id, ComposerError(made.problems), digest)
        found = json.loads(json_text(transcription_json(made)))
        return Row(
            clip.id,
            digest,
            made.text,
            made.language,
            round(made.duration, 6),
            made.finish_reason,
            made.tokens,
            list(made.notes),
            found["coverage"],
            found["segments"],
            found["outputs"],
        )
