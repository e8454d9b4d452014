"""A decoder that was published as an ONNX graph, on ONNX Runtime as it is."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, field_validator

from composer.core.component import Component, ComponentConfig, Facts, Spec, Token, method
from composer.core.errors import ComposerError
from composer.formats import Headers
from composer.generation.decoder import DecoderInput
from composer.generation.generator import TextGenerator
from composer.generation.options import GENERATED, GenerationOptions, validate_generation
from composer.generation.text import read_tokenizer

from ...checkpoints.file_stamps import StampedFacts, require_unchanged, stamp_files
from ...checkpoints.tokenizer import unknown_tokens
from ..session import Session
from ..versions import version_problems
from .decoder import GraphDecoder
from .files import (
    ROWS,
    DecoderFiles,
    bind_sizes,
    missing_reasons,
    own_methods,
    read_files,
    two_copies,
)
from .ports import EMBEDS, IDS, LAYERS
from .session import PrefillSession, PublishedSession, contract_of

if TYPE_CHECKING:
    from composer.core.placement import Placement

PATH = re.compile(r"[\w.-]+(/[\w.-]+)*\.onnx")


class OnnxDecoderConfig(ComponentConfig):
    """What the decoder's file does not name."""

    embed: str | None = Field(
        None,
        max_length=256,
        description="the file that embeds ids, from the folder of tokenizer.json, or "
        "else of `weights`: `onnx/embed_tokens_q4.onnx`; only for a decoder that takes these",
    )

    prefill: str | None = Field(
        None,
        max_length=256,
        description="where a decoder is two graphs, the one that reads a prompt and has no cache "
        "as input; `weights` is the other, which takes tokens and the cache. From the folder of "
        "tokenizer.json, or else of `weights`: `decoder_prefill_int4.onnx`",
    )
    names: dict[str, str] = Field(
        default_factory=dict,
        max_length=64,
        description="the usual names of inputs and outputs that have others, %d for the number of "
        "a layer: `{hidden_in: inputs_embeds, k_%d_in: past_key_values.%d.key}`",
    )

    @field_validator("embed", "prefill")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        if value and (not PATH.fullmatch(value) or ".." in value.split("/")):
            raise ValueError(f"{value!r} is not the path of an ONNX file inside the folder")
        return value


class OnnxDecoderFile(Component, name="onnx.decoder"):
    """Continue texts with a decoder that was published as ONNX, such as those of onnx-community.

    What it takes is read from its file: ids (`prompt`), or embeddings and, where it has them,
    per-layer inputs, which `embed` and `per_layer` look up in a second file. Four axes of
    per_layer_inputs are rows of the table, as gemma4 takes them; three are these with the projected
    embeddings, of the space `per_layer_mixed`, and then `embed` takes the rows of encoders: nothing
    can be put into its embeddings afterwards. Its weights are computed with as they are stored.
    The cache stays in ONNX Runtime. Texts are continued in turn, each as a batch of 1.
    A decoder may be two graphs, each with its own copy of the weights: `prefill` reads a prompt
    as a whole, and hands its cache to the one of `weights`.
    """

    backend = "numpy"
    requires = frozenset({"weights"})
    placement_keys = frozenset(
        {"providers", "threads", "time_limit", "child_memory_gb", "cache_gb"}
    )
    accepts = frozenset({"files"})
    Config = OnnxDecoderConfig

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind D, V and what per-layer inputs have, and check the graphs and the tokenizer."""
        if headers is None or spec.weights is None:
            return Facts(unknown=True)
        found = read_files(spec, headers)
        notes = [*found.model.notes]
        for signature in found.signatures:
            notes += version_problems(signature)
        if errors := [each for each in notes if each.severity == "error"]:
            raise ComposerError(errors)
        model = found.model
        files = [file for each in found.signatures for file in each.files]
        return StampedFacts(
            dims=bind_sizes(found),
            dtype=found.ports.tokens.dtype if found.ports.takes_embeds else "f32",
            nbytes=sum(each.nbytes for each in found.signatures),
            casts=two_copies(found),
            methods=own_methods(cls.methods, found),
            missing_reasons=missing_reasons(found),
            notes=tuple(notes),
            continued_alone="a published graph may have no batch axis, or one that is not tested",
            stamps=stamp_files([*files, model.config, model.tokenizer]),
            option_faults=partial(
                unknown_tokens,
                model.tokenizer,
                headers.tokenizer(model.tokenizer),
                model.vocabulary.rows,
            ),
        )

    @classmethod
    def validate_options(cls, method: str, options: Mapping[str, Any]) -> None:
        validate_generation(method, options)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the graphs, in child processes where they are not trusted."""
        found = read_files(spec, Headers())
        require_unchanged(facts)
        return cls(found, placement)

    def __init__(self, found: DecoderFiles, placement: Placement) -> None:
        model, ports = found.model, found.ports
        self.embedding, self.marks = found.embedding, model.marks
        self.embedder: Session | None = None
        if found.embed_signature:
            path, nbytes = found.embed_signature.file.path, found.embed_signature.nbytes
            assert path is not None
            self.embedder = Session(path, contract_of(found.embed_signature), placement, nbytes)
        first = None
        if found.prefill_signature:
            first = PrefillSession(found.prefill_signature, ports, placement)
        session = PublishedSession(found.signature, found.step, placement, first)
        self.step_ids = not found.step.takes_embeds
        # A step that takes ids cannot read embeddings: each prompt is prefilled whole.
        self.reuses = found.step.takes_embeds == ports.takes_embeds
        self.decoder = GraphDecoder(session, self.step_rows)
        self.writer = TextGenerator(
            self.decoder,
            read_tokenizer(model.tokenizer),
            model.vocabulary.rows,
            model.vocabulary.stop,
            model.positions,
            placement.get("cache_gb"),
        )

    def step_rows(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Return the inputs of the graph that continues, for ids."""
        if self.step_ids:
            return {IDS: ids}
        return self.rows(ids)

    def rows(self, ids: np.ndarray, **encoded: np.ndarray) -> dict[str, np.ndarray]:
        """Return the graph's inputs for ids, and for rows of encoders by their ports."""
        if self.embedding is None or self.embedder is None:
            return {IDS: ids}
        given = {ROWS[port]: rows for port, rows in encoded.items() if rows is not None}
        return self.embedding.embed(self.embedder, ids, given, self.marks if encoded else {})

    @method(
        ids="i64 T",
        speech="A D @embed",
        pictures="I D @embed",
        returns="T D @embed",
    )
    def embed(self, ids: np.ndarray, speech: Any = None, pictures: Any = None) -> np.ndarray:
        """Make embeddings of ids, as the decoder takes them.

        Where the graph does that itself, rows of encoders are put where ids mark them.
        """
        self.writer.check_ids(ids)
        return self.rows(ids, speech=speech, pictures=pictures)[EMBEDS]

    @method(
        ids="i64 T",
        speech="A D @embed",
        pictures="I D @embed",
        returns="T L P @per_layer",
    )
    def per_layer(self, ids: np.ndarray, speech: Any = None, pictures: Any = None) -> np.ndarray:
        """Make per-layer inputs of ids, and of the rows that `embed` takes."""
        self.writer.check_ids(ids)
        return self.rows(ids, speech=speech, pictures=pictures)[LAYERS]

    @method(
        prompt="i64 T",
        embeds="T D @embed",
        per_layer="T L P @per_layer",
        returns=GENERATED,
        streams=True,
    )
    def generate(
        self,
        prompt: Any = None,
        embeds: Any = None,
        per_layer: Any = None,
        *,
        options: GenerationOptions,
    ) -> Generator[Token, None, dict[str, Any]]:
        """Continue ids or embeddings until an end-of-text id, one of `stop`, or `max_tokens`.

        The call itself raises what is wrong with the options; the work begins with the first token.
        """
        if not self.reuses:
            options = replace(options, reuse_cache=False)
        return self.writer.write(self.input(prompt, embeds, per_layer), options)

    @method(
        prompt="i64 T",
        embeds="T D @embed",
        per_layer="T L P @per_layer",
        ids="i64 N",
        returns="f32 N V",
    )
    def replay(
        self, ids: np.ndarray, prompt: Any = None, embeds: Any = None, per_layer: Any = None
    ) -> Any:
        """Return the logits before each of the ids that follow, decoded step by step."""
        return self.writer.replay(self.input(prompt, embeds, per_layer), ids)

    @method(prompt="i64 T", embeds="T D @embed", per_layer="T L P @per_layer", returns="f32 T V")
    def logits(self, prompt: Any = None, embeds: Any = None, per_layer: Any = None) -> np.ndarray:
        """Return the logits that follow every position, for tests and comparisons."""
        return self.decoder.every(self.input(prompt, embeds, per_layer).rows)

    def input(self, prompt: Any, embeds: Any, per_layer: Any) -> DecoderInput:
        """Return a prompt as the graph takes it."""
        if prompt is not None:
            self.writer.check_ids(prompt)
        given = {IDS: prompt, EMBEDS: embeds, LAYERS: per_layer}
        return DecoderInput({name: rows for name, rows in given.items() if rows is not None})
