"""The graph that turns ids into a decoder's embeddings, and its per-layer inputs where it has any.

Two conventions are published under one name. With four axes per_layer_inputs are rows of the
per-layer table, and the decoder adds what it projects of the embeddings; with three they are both
already, so that they belong to embeddings whose other rows are in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.core.backend import LONG
from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.core.problems import Problems
from composer.core.suggest import listed

from ..graph_contract import shape_text
from ..session import Session
from .ports import EMBEDS, FEATURES, IDS, LAYERS, DecoderPorts, unlike

if TYPE_CHECKING:
    from composer.formats import OnnxSignature, OnnxValue

MEANINGS = {4: "rows of the per-layer table", 3: "these with the projected embeddings"}


@dataclass(frozen=True)
class EmbeddingPorts:
    """Its inputs by name: ids, and rows of encoders, by their widths, of which a text has none."""

    file: Location
    inputs: Mapping[str, OnnxValue]
    outputs: Mapping[str, OnnxValue]
    widths: Mapping[str, int]

    def embed(
        self, session: Session, ids: np.ndarray, rows: Mapping[str, Any], marks: Mapping[str, int]
    ) -> dict[str, np.ndarray]:
        """Return what is made of ids [T], each row by row, with rows of encoders at their marks."""
        feeds = {IDS: ids[None].astype(LONG[self.inputs[IDS].dtype])}
        for name, width in self.widths.items():
            own = rows.get(name)
            if own is None:
                own = np.zeros((0, width))
            marked = int(np.count_nonzero(ids == marks[name])) if name in marks else len(own)
            if len(own) != marked:
                message = f"{self.file}: {name} has {len(own)} rows, and {marked} ids mark one"
                hint = f"the id {marks[name]} stands where a row is put"
                raise ComposerError(Problem("R502", message, hint=hint))
            feeds[name] = own.astype(LONG[self.inputs[name].dtype])
        made = session.run(feeds)
        return {name: made[name][0] for name in (EMBEDS, LAYERS) if name in made}


def read_embedding(signature: OnnxSignature, decoder: DecoderPorts) -> EmbeddingPorts:
    """Find out what a graph makes of ids; raise ComposerError W283 unless the decoder takes it."""
    problems = Problems(place=Place(str(signature.file)))
    inputs, widths = {}, dict[str, int]()
    for value in signature.inputs:
        inputs[value.name] = value
        if value.name not in (IDS, *FEATURES):
            problems.report(
                "W283",
                f"nothing is known to go into the input {value.name}",
                hint=f"known are {listed([IDS, *FEATURES])}",
            )
        elif wrong := unlike(value, value.name):
            problems.report("W283", wrong)
        elif value.name in FEATURES:
            _, width = value.dims or (None, None)
            own = (decoder.tokens.dims or ())[-1]
            text = f"{value.name} {shape_text(value.dims or ())}"
            if not isinstance(width, int):
                problems.report("W283", f"{text} does not say how wide its rows are")
            elif isinstance(own, int) and width != own:
                problems.report("W283", f"{text} is not as wide as the embeddings, {own}")
            else:
                widths[value.name] = width
    if IDS not in inputs:
        problems.report("W283", f"what embeds ids has the input {IDS}")
    outputs = {each.name: each for each in signature.outputs}
    for name in (EMBEDS, LAYERS):
        if name in decoder.inputs:
            _compare(decoder, decoder.inputs[name], outputs.get(name), problems)
    problems.raise_any()
    return EmbeddingPorts(signature.file, inputs, outputs, widths)


def _compare(
    decoder: DecoderPorts, taken: OnnxValue, given: OnnxValue | None, problems: Problems
) -> None:
    """Report where an output is not what the decoder's input of its name takes."""
    wanted = f"{decoder.file}: {taken.name} {taken.dtype} {shape_text(taken.dims or ())}"
    if given is None or given.dims is None or taken.dims is None:
        problems.report("W283", f"it has no output {taken.name} with axes", wanted)
        return
    text = f"{given.name} {given.dtype} {shape_text(given.dims)}"
    if taken.name == LAYERS and len(given.dims) != len(taken.dims):
        meant = MEANINGS.get(len(given.dims), "unknown")
        problems.report(
            "W283",
            f"{text} are {meant}, and the decoder takes {MEANINGS[len(taken.dims)]}",
            wanted,
            hint="take both files from one export: the two share a name and not a meaning",
        )
        return
    pairs = zip(given.dims[2:], taken.dims[2:], strict=False)
    alike = all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))
    if given.dtype != taken.dtype or len(given.dims) != len(taken.dims) or not alike:
        hint = "take both files from one export, of one precision"
        problems.report("W283", f"{text} is not what the decoder takes", wanted, hint=hint)
