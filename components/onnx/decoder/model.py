"""What stands beside a published decoder: its vocabulary, what ends a text, how long one may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from composer.core.component import Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.formats.tokenizer import tokenizer_file

from ...checkpoints.checkpoint import text_config_value
from ...checkpoints.folder import folder_of
from ...checkpoints.generation_config import read_generation
from ...checkpoints.tokenizer import Vocabulary, check_tokenizer
from .ports import DecoderPorts

if TYPE_CHECKING:
    from composer.formats import Headers

CONFIG, GENAI = "config.json", "genai_config.json"
SUFFIX = ".onnx"
MARKS = {"audio_features": "audio_token_id", "image_features": "image_token_id"}


@dataclass(frozen=True)
class TextModel:
    """The files of a decoder's folder, and what they say."""

    tokenizer: Location
    config: Location
    vocabulary: Vocabulary
    positions: int | None
    marks: Mapping[str, int]  # the ids where rows of encoders are put, by the graph's inputs
    notes: tuple[Problem, ...]


def checkpoint_folder(spec: Spec, headers: Headers) -> tuple[Location, Location]:
    """Return the folder that is given by `files`, or that of the graph, and its tokenizer."""
    assert spec.weights is not None
    place = spec.files or folder_of(spec.weights, SUFFIX)
    tokenizer = tokenizer_file(place, headers.files)
    return folder_of(tokenizer, ".json"), tokenizer


def read_model(spec: Spec, headers: Headers, ports: DecoderPorts) -> TextModel:
    """Read the folder; raise ComposerError for what contradicts."""
    folder, tokenizer = checkpoint_folder(spec, headers)
    file, config = _config(folder, headers)
    rows = (ports.logits.dims or ())[-1]
    witness = f"{ports.file}: {ports.logits.name}"
    if not isinstance(rows, int):
        rows, witness = text_config_value(config, "vocab_size"), f"{file}: vocab_size"
    if type(rows) is not int or rows < 1:
        message = f"neither {ports.logits.name} nor vocab_size says how many ids it has"
        raise ComposerError(Problem("W282", message, Place(str(ports.file))))
    stated = {**config, "eos_token_id": text_config_value(config, "eos_token_id")}
    stop, notes = read_generation(folder, file, stated, headers, rows, witness)
    positions = text_config_value(config, "max_position_embeddings")
    if positions is not None and (type(positions) is not int or positions < 1):
        message = f"max_position_embeddings is {positions!r:.40}"
        notes.report("W241", message, place=Place(str(file)))
    notes.raise_any()
    vocabulary = Vocabulary(rows, witness, stop)
    notes.add(*check_tokenizer(tokenizer, headers, vocabulary))
    marks = {}
    for name, key in MARKS.items():
        if type(config.get(key)) is int:
            marks[name] = config[key]
    return TextModel(tokenizer, file, vocabulary, positions, marks, tuple(notes))


def _config(folder: Location, headers: Headers) -> tuple[Location, Mapping[str, Any]]:
    """Return what a folder says of its model: that of onnxruntime-genai by the usual keys."""
    genai = folder / GENAI
    if headers.exists(genai):
        model = headers.config(genai).get("model")
        model = model if isinstance(model, dict) else {}
        keys = {"max_position_embeddings": "context_length"}
        names = ("eos_token_id", "vocab_size", "max_position_embeddings", *MARKS.values())
        return genai, {name: model.get(keys.get(name, name)) for name in names}
    config = folder / CONFIG
    if headers.exists(config):
        return config, headers.config(config)
    raise ComposerError(
        Problem(
            "W241",
            f"{folder} has neither {CONFIG} nor {GENAI}, so what ends a text is not known",
            Place(str(folder)),
            hint="point `files` at the folder that has one beside tokenizer.json",
        )
    )
