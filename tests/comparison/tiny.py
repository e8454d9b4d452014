"""A speech model of a few numbers whose every stage depends on all that it is given."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from composer import Bound, Component, Facts, Spec, Token, method
from composer.core.call_signature import OUT
from composer.formats.audio.waveform import Audio

WIDTH, HEADS, VOCABULARY, MELS, LAYERS = 8, 2, 32, 6, 2
PAD = 31


def random(seed: int, *shape: int) -> np.ndarray:
    """Return fixed random numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


TABLE, SIDE = random(0, VOCABULARY, WIDTH), random(1, VOCABULARY, LAYERS, WIDTH)
ENCODE, MIX, LORA = random(2, MELS, WIDTH), random(3, LAYERS, WIDTH, WIDTH) / 3, random(4, WIDTH)
SCALE = 4.0


class Made(Component, name="tiny.made"):
    """What all tiny components share: no files, one width."""

    backend = "numpy"
    accepts = frozenset({"precision"})

    @classmethod
    def facts(cls, spec: Spec, headers: Any) -> Facts:
        dtype = {"float16": "f16", None: "f32", "float32": "f32"}[spec.precision]
        width = Bound(WIDTH, f"tiny: table [{VOCABULARY}, {WIDTH}]")
        dims = {
            "D": width, "M": Bound(MELS, "tiny: mels"), "L": Bound(LAYERS, "tiny: layers"),
            "V": Bound(VOCABULARY, "tiny: table"),
        }  # fmt: skip
        return Facts(dims, dtype=dtype)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Any) -> Made:
        made = cls()
        made.kind = {"f16": np.float16, "f32": np.float32}[facts.dtype]
        return made


class Mel(Made, name="tiny.mel"):
    """Frames of six samples, windowed."""

    @method(audio="audio 8000", returns={OUT: "f32 M F", "mask": "bool F"})
    def __call__(self, audio: Audio) -> dict[str, np.ndarray]:
        frames = audio.samples[: audio.frames // MELS * MELS].reshape(-1, MELS)
        window = np.hanning(MELS + 2)[1:-1].astype(np.float32)
        return {OUT: np.ascontiguousarray((frames * window).T), "mask": np.ones(len(frames), bool)}


class Encoder(Made, name="tiny.encoder"):
    """Two heads that look back."""

    @method(mel="M F", returns="F D")
    def __call__(self, mel: np.ndarray) -> np.ndarray:
        x = np.tanh(mel.T.astype(np.float32) @ ENCODE).reshape(len(mel.T), HEADS, -1)
        weight = 1 / (1 + np.arange(len(x)))[:, None, None]
        rows = x + np.cumsum(x * np.array([1.0, 0.3])[None, :, None], 0) * weight
        return rows.reshape(len(x), WIDTH).astype(self.kind)


class Ask(Made, name="tiny.ask"):
    """A begin, a slot for each row, and a line of text."""

    @method(speech="_ _", line="text", returns={"ids": "i64 T", "slots": "bool T"})
    def __call__(self, speech: np.ndarray, line: str) -> dict[str, np.ndarray]:
        ids = np.array([1] + [PAD] * len(speech) + [2 + ord(c) % 20 for c in line])
        return {"ids": ids, "slots": ids == PAD}


class Words(Made, name="tiny.words"):
    """A decoder with side inputs and an adapter, which answers greedily."""

    @method(ids="i64 T", returns="T D @embed")
    def embed(self, ids: np.ndarray) -> np.ndarray:
        return (TABLE[ids] * SCALE).astype(self.kind)

    @method(ids="i64 T", returns="T L D @side")
    def side(self, ids: np.ndarray) -> np.ndarray:
        return SIDE[ids].astype(self.kind)

    def last(self, embeds: np.ndarray, side: np.ndarray, lora: bool) -> np.ndarray:
        x = embeds.astype(np.float32)
        for layer, mix in enumerate(MIX):
            x = x + np.tanh(np.cumsum(x, 0) @ mix + side[:, layer]) + (LORA if lora else 0)
        return x[-1] @ TABLE.T

    def steps(self, embeds: Any, side: Any, lora: bool, ids: Any, most: int) -> Any:
        for at in range(most):
            logits = self.last(embeds, side, lora)
            token = int(np.argmax(logits)) if ids is None else int(ids[at])
            yield token, logits
            given = np.array([token])
            embeds = np.concatenate([embeds, self.embed(given)])
            side = np.concatenate([side, self.side(given)])

    @method(
        embeds="T D @embed",
        side="T L D @side",
        returns={"text": "text", "ids": "i64 N"},
        streams=True,
    )
    def generate(
        self, embeds: np.ndarray, side: np.ndarray, *, lora: bool = False, max_tokens: int = 6
    ) -> Generator[Token, None, dict[str, Any]]:
        ids = []
        for token, _ in self.steps(embeds, side, lora, None, max_tokens):
            ids.append(token)
            yield Token(token, chr(97 + token % 26))
        text = "".join(chr(97 + token % 26) for token in ids)
        return {"text": text, "ids": np.array(ids)}

    @method(embeds="T D @embed", side="T L D @side", ids="i64 N", returns="f32 N V")
    def replay(
        self, embeds: np.ndarray, side: np.ndarray, ids: np.ndarray, *, lora: bool = False
    ) -> np.ndarray:
        steps = self.steps(embeds, side, lora, ids, len(ids))
        return np.stack([logits for _, logits in steps]).astype(np.float32)


KINDS = (Mel, Encoder, Ask, Words)
MANIFEST = """\
composer: 1
name: tiny
components:
  mel: {use: tiny.mel}
  encoder: {use: tiny.encoder, emits: words.embed}
  ask: {use: tiny.ask}
  words: {use: tiny.words}
inputs:
  audio: audio
  line: {type: text, default: hi}
graph:
  frames: {run: mel, with: {audio: $audio}}
  soft: {run: encoder, with: {mel: $frames}}
  asked: {run: ask, with: {speech: $soft, line: $line}}
  base: {run: words.embed, with: {ids: $asked.ids}}
  embeds: {run: scatter, with: {base: $base, at: $asked.slots, values: $soft}}
  text: {run: fill, with: {ids: $asked.ids, at: $asked.slots, value: 0}}
  side: {run: words.side, with: {ids: $text}}
  answer: {run: words.generate, with: {embeds: $embeds, side: $side, lora: true}}
outputs: {text: $answer.text, ids: $answer.ids}
"""
CLIP = (np.sin(np.arange(60, dtype=np.float32) / 3) / 2, 8000)
