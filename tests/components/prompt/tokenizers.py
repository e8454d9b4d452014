"""Tokenizers like those of Qwen and Gemma, and prompts over them."""

import numpy as np
from tokenizers import (
    Tokenizer,
)

from composer.components.text.prompt import Prompt
from composer.core.component import Spec
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats.headers import Headers

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CORPUS = [
    "language English", "language Chinese", "system user assistant", "Transcribe the speech:",
    "the quick brown fox jumps over the lazy dog", "one two three\n\nfour five six", "héllo wörld",
    "<|audio_pad|> asr_text im_start im_end <asr_text>", "{braces} and more braces",
] * 3  # fmt: skip
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_start|>", "<|audio_end|>",
           "<|audio_pad|>")  # fmt: skip
ASR = (
    "<|im_start|>system\n{context}<|im_end|>\n<|im_start|>user\n<|audio_start|>{speech}"
    "<|audio_end|><|im_end|>\n<|im_start|>assistant\n{forced}"
)
FORCED = {"forced": "language {language}<asr_text>"}


def save(tokenizer, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def spec(folder, **config):
    files = Location("repo", folder.name, folder.parent)
    return Spec("prompt", Prompt.Config.model_validate(config), files=files)


def made(folder, **config):
    component_spec = spec(folder, **config)
    return Prompt.load(component_spec, Prompt.facts(component_spec, Headers()), Placement())


def id_of(folder, token):
    return Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id(token)


def filled(component, **values):
    given = component(**values)
    marks = {name: given[name] for name, value in values.items() if isinstance(value, np.ndarray)}
    assert given.keys() == {"ids", "slots", "text", *marks}
    ids, slots = given["ids"], given["slots"]
    assert np.array_equal(sum(marks.values(), np.zeros(len(ids), int)), slots)
    assert {name: mark.sum() for name, mark in marks.items()} == {
        name: len(values[name]) for name in marks
    }
    assert ids.dtype == np.int64
    assert slots.dtype == np.bool_
    assert ids.shape == slots.shape
    assert ids.ndim == 1
    assert (ids >= 0).all()
    return ids.tolist(), slots, given["text"]


def rows(count):
    return np.zeros((count, 4), np.float32)
