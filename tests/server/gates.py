"""A decoder that waits for a sign, so that tests decide what runs when."""

import io
import threading

import numpy as np
import pytest
import soundfile

from composer.core import registry
from composer.core.component import Component, Token, method
from tests.fakes import FAKES
from tests.server.serving import WAIT


class Gate:
    """What a gated decoder obeys: it waits before its token number `after` until `open` is set."""

    def __init__(self):
        self.open = threading.Event()
        self.after = 0
        self.fails = False
        self.tokens = 0  # that all runs gave
        self.waiting = threading.Semaphore(0)
        self.closed = threading.Semaphore(0)

    def when_waiting(self, do):
        """Call `do` on a thread once a run waits."""
        threading.Thread(target=lambda: (self.waiting.acquire(timeout=WAIT), do())).start()

    def passes(self, number):
        if number == self.after and not self.open.is_set():
            self.waiting.release()
            self.open.wait(WAIT)


GATE = Gate()


class Gated(Component, name="fake.gated"):
    """Write words, one a token, at the pace of the gate."""

    @classmethod
    def load(cls, spec, facts, placement):
        return cls()

    @method(
        x="N I", returns={"text": "text", "ids": "i64 K", "finish_reason": "text"}, streams=True
    )
    def generate(self, x, *, max_tokens: int = 8):
        text = ""
        try:
            for number in range(max_tokens):
                GATE.passes(number)
                word = f"w{number} "
                text += word
                GATE.tokens += 1
                if (yield Token(number, word)):
                    break
                if GATE.fails and number == 2:
                    raise ZeroDivisionError("no more")
        finally:
            GATE.closed.release()
        count = np.arange(text.count("w"))
        return {"text": text, "ids": count, "finish_reason": "stop"}


GATED = """\
composer: 1
name: gated
components:
  frames: {use: fake.frames}
  gated: {use: fake.gated}
tasks:
  transcribe:
    inputs: {audio: audio}
    graph:
      mel: {run: frames, with: {audio: $audio}}
      answer: {run: gated.generate, with: {x: $mel}}
    outputs: {text: $answer.text}
"""
TRANSLATES = (
    GATED
    + """\
  translate:
    like: transcribe
"""
)


@pytest.fixture
def gate():
    """Register the fakes and the gated decoder; leave no run waiting."""
    GATE.__init__()
    for each in (*FAKES, Gated):
        registry.register_component(each)
    yield GATE
    GATE.open.set()
    for each in (*FAKES, Gated):
        registry.unregister_component(each.name)


def wav(seconds=0.25, rate=8000):
    """Return a recording as the bytes of a file."""
    file = io.BytesIO()
    samples = np.linspace(0, 0.5, int(seconds * rate), dtype=np.float32)
    soundfile.write(file, samples, rate, "PCM_16", format="WAV")
    return file.getvalue()
