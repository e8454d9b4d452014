"""Transcribe one clip, its text as it becomes certain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from composer.formats.audio.clip import Clip
from composer.jobs.partial_text import PartialText
from composer.jobs.speech import SpeechTask
from composer.jobs.transcription import Transcription


class SpokenStream:
    """A clip that is being transcribed: pieces of its text, and at the end the transcription.

    The pieces are together the text of the transcription, but where a repair changed what was
    there already: then `repaired` is true, and they are what was certain before. Reading them
    raises ComposerError where the clip cannot be read or run.
    """

    def __init__(self, speech: SpeechTask, clip: Clip) -> None:
        self._speech = speech
        self._clip = clip
        self._partial = PartialText(speech.bundle.checked, speech.graph, speech.text, speech.inputs)
        self._stream = speech.bundle.stream(
            task=speech.graph.task,
            options=speech.options,
            taps=speech.taps,
            **{**speech.inputs, speech.audio: clip},
        )
        self.transcription: Transcription | None = None

    @property
    def repaired(self) -> bool:
        """Return whether the text is not what its pieces are together."""
        return self.transcription is not None and self.transcription.text != self._partial.sent

    @property
    def tokens(self) -> int:
        """Return how many tokens were decoded so far."""
        return self._stream.tokens

    def __iter__(self) -> Iterator[str]:
        for _ in self._stream:
            assert self._stream.token is not None
            if new := self._partial.add(self._stream.token):
                yield new
        if self._stream.result is None:
            return
        self.transcription = self._speech.transcription(self._clip.source, self._stream.result)
        if rest := self._partial.finish(self.transcription.text or ""):
            yield rest

    def stop(self) -> None:
        """End the text after the next token, from any thread."""
        self._stream.stop()

    def close(self) -> None:
        """Give the run up."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
