"""Ports and options, read from a function."""

from dataclasses import dataclass
from inspect import Parameter
from typing import Annotated

import pytest
from pydantic import Field

from composer import ComposerError
from composer.components.mlx.gemma4 import MlxGemma4
from composer.components.mlx.lm import MlxLanguageModel
from composer.components.onnx.lm import OnnxLanguageModel
from composer.core.call_signature import Option
from composer.core.component import Component, method
from composer.generation.options import GenerationOptions

Rate = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Speaking:
    rate: Rate
    loud: bool = False

    def __post_init__(self):
        if self.loud and self.rate > 5:
            raise ValueError("nobody would understand it")


class Speaker(Component, name="test.speaker"):
    """Take a text."""

    @method(text="text", returns="text")
    def __call__(self, text: str, *, twice: bool = False, how: Speaking) -> str:
        messages = f"{text} at {how.rate}{'!' if how.loud else ''}"
        return f"{messages} {messages}" if twice else messages


def test_a_dataclass_stands_for_its_fields():
    assert Speaker.methods["__call__"].options == {
        "twice": Option(bool, False),
        "rate": Option(Rate, Parameter.empty),
        "loud": Option(bool, False),
    }


def test_a_call_gives_them_one_by_one():
    speaker = Speaker()
    assert speaker("hi", rate=3) == "hi at 3"
    assert speaker("hi", rate=3, loud=True, twice=True) == "hi at 3! hi at 3!"
    with pytest.raises(TypeError, match="rate"):
        speaker("hi")
    with pytest.raises(TypeError, match="fast"):
        speaker("hi", rate=3, fast=True)
    with pytest.raises(ValueError, match="nobody"):
        speaker("hi", rate=6, loud=True)


@pytest.mark.parametrize("kind", [MlxLanguageModel, MlxGemma4, OnnxLanguageModel])
def test_every_decoder_has_the_same_options(kind):
    options = dict(kind.methods["generate"].options)
    assert options.pop("adapters").default == ()
    assert list(options) == [
        "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty",
        "presence_penalty", "frequency_penalty", "no_repeat_ngram_size", "seed", "stop",
        "stop_text", "reasoning", "reuse_cache", "logprobs",
    ]  # fmt: skip
    defaults = GenerationOptions()
    assert {name: each.default for name, each in options.items()} == {
        name: getattr(defaults, name) for name in options
    }


def test_options_that_contradict_each_other_are_refused():
    with pytest.raises(ComposerError, match="R510 top_k 3 has no effect at temperature 0"):
        GenerationOptions(top_k=3)
