"""A small speech pipeline in NumPy, whose every number can be worked out by hand."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from composer import (
    Bound,
    CallSignature,
    Component,
    ComponentConfig,
    ComposerError,
    Facts,
    Problem,
    Spec,
    Token,
    method,
)
from composer.core import registry
from composer.core.call_signature import OUT
from composer.core.ports import Port, parse_port

WIDTH = 4
PAD = 99


class Frames(Component, name="fake.frames"):
    """Cut a waveform into frames."""

    class Config(ComponentConfig):
        size: int = 2

    @classmethod
    def facts(cls, spec: Spec, headers: Any) -> Facts:
        size = spec.config.size
        call = CallSignature(
            {"audio": (Port("audio", dims=(8000,)),)},
            {OUT: parse_port("f32 F M"), "mask": parse_port("bool F")},
        )
        return Facts({"M": Bound(size, f"config.size {size}")}, methods={"__call__": call})

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Any) -> Frames:
        made = cls()
        made.size = spec.config.size
        return made

    def __call__(self, audio: Any) -> dict[str, np.ndarray]:
        assert audio.rate == 8000
        frames = audio.samples[: len(audio.samples) // self.size * self.size]
        frames = frames.reshape(-1, self.size)
        return {OUT: frames, "mask": np.ones(len(frames), bool)}


class Widen(Component, name="fake.widen"):
    """Repeat each frame to a width."""

    class Config(ComponentConfig):
        width: int = WIDTH
        rows: int | None = None
        dtype: str = "float32"

    @classmethod
    def facts(cls, spec: Spec, headers: Any) -> Facts:
        width = spec.config.width
        return Facts({"D": Bound(width, f"widen: weight [2, {width}]"), "I": Bound(2, "widen: in")})

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Any) -> Widen:
        made = cls()
        made.config = spec.config
        return made

    @method(x="N I", returns="N D")
    def __call__(self, x: np.ndarray) -> np.ndarray:
        if x.size and x.max() > 1e6:
            raise ZeroDivisionError("too loud")
        wide = np.repeat(x.mean(-1, keepdims=True), self.config.width, 1)
        return wide[: self.config.rows].astype(self.config.dtype)


class Ask(Component, name="fake.ask"):
    """Make a prompt: 1, a slot for each row, then one id a character."""

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Any) -> Ask:
        return cls()

    @method(
        speech="text | _ _", line="text",
        returns={"ids": "i64 T", "slots": "bool T", "text": "text"},
    )  # fmt: skip
    def __call__(self, speech: np.ndarray, line: str) -> dict[str, Any]:
        ids = [1] + [PAD] * len(speech) + [ord(c) for c in line]
        array = np.array(ids, np.int64)
        return {"ids": array, "slots": array == PAD, "text": line}


class Echo(Component, name="fake.echo"):
    """A decoder that says how many rows it was given, as often as it may."""

    accepts = frozenset({"precision"})

    @classmethod
    def facts(cls, spec: Spec, headers: Any) -> Facts:
        short = {"float16": "f16", None: "f32"}[spec.precision]
        witness = f"echo: embed [128, {WIDTH}]"
        return Facts({"D": Bound(WIDTH, witness)}, dtype=short, nbytes=128 * WIDTH * 4)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Any) -> Echo:
        made = cls()
        made.dtype = {"f16": np.float16, "f32": np.float32}[facts.dtype]
        return made

    @method(ids="i64 T", returns="T D @embed")
    def embed(self, ids: np.ndarray) -> np.ndarray:
        return np.repeat(ids[:, None], WIDTH, 1).astype(self.dtype)

    @method(
        embeds="T D @embed",
        returns={"text": "text", "ids": "i64 N", "finish_reason": "text"},
        streams=True,
    )
    def generate(
        self, embeds: np.ndarray, *, max_tokens: int = 3, end: str = "."
    ) -> Generator[Token, bool | None, dict[str, Any]]:
        assert embeds.dtype == self.dtype
        whole, text, enough = f"{len(embeds)}{end}"[:max_tokens], "", None
        while text != whole and not enough:
            character = whole[len(text)]
            text += character
            enough = yield Token(ord(character), character)
        ids = np.array([ord(c) for c in text], np.int64)
        reason = "cancelled" if text != whole else "stop" if text.endswith(end) else "length"
        return {"text": text, "ids": ids, "finish_reason": reason}


class Upper(Component, name="fake.upper"):
    """Shout."""

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Any) -> Upper:
        return cls()

    @method(text="text", returns="text")
    def __call__(self, text: str) -> str:
        return text.upper()


class Half(Component, name="fake.half"):
    """Take bfloat16, which NumPy lacks."""

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Any) -> Half:
        return cls()

    @method(x="bf16 N", few="i8 N", mask="bool N", returns="f32 N")
    def __call__(
        self, x: np.ndarray | None = None, few: Any = None, mask: Any = None
    ) -> np.ndarray:
        given = next(each for each in (x, few, mask) if each is not None)
        return given.astype(np.float32) / 2


class Wide(Component, name="fake.wide"):
    """Promise bfloat16 of MLX, and give float32."""

    backend = "mlx"

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Any) -> Wide:
        return cls()

    @method(x="bf16 N", returns="bf16 N")
    def __call__(self, x: Any) -> Any:
        import mlx.core as mx

        return x.astype(mx.float32)


class Squared(Component, name="fake.squared"):
    """Multiply numbers of MLX by themselves."""

    backend = "mlx"

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Any) -> Squared:
        return cls()

    @method(x="f32 N", returns="f32 N")
    def __call__(self, x: Any) -> Any:
        return x * x


class Placed(Component, name="fake.placed"):
    """Return where it was placed."""

    placement_keys = frozenset({"threads"})

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Any) -> Placed:
        made = cls()
        made.placement = placement
        return made

    @method(text="text", returns="text")
    def __call__(self, text: str) -> str:
        return str(self.placement.given)


class Odd(Component, name="fake.odd"):
    """A component whose facts fail."""

    @classmethod
    def facts(cls, spec: Spec, headers: Any) -> Facts:
        raise TypeError("unhashable type: 'list'")


class Broken(Component, name="fake.broken"):
    """A component whose files are bad."""

    requires = frozenset({"weights"})

    @classmethod
    def facts(cls, spec: Spec, headers: Any) -> Facts:
        raise ComposerError(Problem("S410", "it is bad", hint="make it good"))


FAKES = (Frames, Widen, Ask, Echo, Upper, Half, Wide, Squared, Placed, Odd, Broken)
BUNDLE = """\
composer: 1
name: fake-asr
summary: frames -> widen -> echo
components:
  frames: {use: fake.frames}
  widen: {use: fake.widen, emits: echo.embed}
  ask: {use: fake.ask}
  echo: {use: fake.echo}
inputs:
  audio: audio
  line: {type: text, default: hi}
graph:
  mel: {run: frames, with: {audio: $audio}}
  soft: {run: widen, with: {x: $mel}}
  asked: {run: ask, with: {speech: $soft, line: $line}}
  words: {run: echo.embed, with: {ids: $asked.ids}}
  embeds: {run: scatter, with: {base: $words, at: $asked.slots, values: $soft}}
  answer: {run: echo.generate, with: {embeds: $embeds}}
outputs: {text: $answer.text}
"""


@pytest.fixture
def fakes() -> Any:
    """Register the fake components for one test."""
    for each in FAKES:
        registry.register_component(each)
    yield
    for each in FAKES:
        registry.unregister_component(each.name)


def write(folder: Path, text: str = BUNDLE, *changes: tuple[str, str]) -> Path:
    """Write a manifest with some of its text replaced."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "bundle.yaml"
    path.write_text(text)
    return path
