"""Transcribe one clip, its text as it becomes certain."""

from __future__ import annotations

from composer.formats.audio.clip import Clip
from composer.jobs.speech import SpeechTask
from composer.jobs.text_stream import TextStream
from composer.jobs.transcription import Transcription


class SpokenStream(TextStream):
    """A clip that is being transcribed: pieces of its text, and at the end the transcription."""

    def __init__(self, speech: SpeechTask, clip: Clip) -> None:
        self._speech = speech
        self._clip = clip
        inputs = {**speech.inputs, speech.audio: clip}
        super().__init__(
            speech.bundle, speech.graph, speech.text, inputs, speech.options, speech.taps
        )

    @property
    def transcription(self) -> Transcription | None:
        """Return what was made of the clip, once the text has ended."""
        if self.result is None:
            return None
        return self._speech.transcription(self._clip.source, self.result)
