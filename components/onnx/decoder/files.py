"""The files of a published decoder, and its methods and sizes as they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from composer.core.call_signature import CallSignature
from composer.core.component import Bound, Spec
from composer.core.errors import ComposerError, Problem
from composer.core.location import Location
from composer.core.ports import Port, parse_port
from composer.core.suggest import listed

from ...checkpoints.folder import folder_of
from .embedding import EmbeddingPorts, read_embedding
from .model import MARKS, SUFFIX, TextModel, checkpoint_folder, read_model
from .names import unused_names
from .ports import EMBEDS, IDS, LAYERS, DecoderPorts, read_ports
from .prefill import read_prefill

if TYPE_CHECKING:
    from composer.formats import Headers, OnnxSignature

MIXED, WHOLE = parse_port("T W @per_layer_mixed"), parse_port("T D @embed_whole")
# The inputs that are rows of encoders, by their names as ports.
ROWS = {"speech": "audio_features", "pictures": "image_features"}
NO_ROWS = (
    "it takes input_ids alone, so that no row of speech or of a picture can be put into it: that "
    "takes an export with inputs_embeds"
)


@dataclass(frozen=True)
class DecoderFiles:
    """The files of a published decoder, and what their headers say.

    `ports` are those that a prompt comes in by: of the second graph, `prefill`, where there is one.
    """

    signature: OnnxSignature
    step: DecoderPorts
    ports: DecoderPorts
    model: TextModel
    prefill_signature: OnnxSignature | None = None
    embed_signature: OnnxSignature | None = None
    embedding: EmbeddingPorts | None = None

    @property
    def signatures(self) -> list[OnnxSignature]:
        """Return those of all graphs."""
        graphs = (self.signature, self.prefill_signature, self.embed_signature)
        return [each for each in graphs if each]


def read_files(spec: Spec, headers: Headers) -> DecoderFiles:
    """Read a component's headers; raise ComposerError with all that contradicts."""
    assert spec.weights is not None
    config = spec.config
    signature = headers.onnx(spec.weights)
    step = read_ports(signature, config.names, "step" if config.prefill else "whole")
    ports, prefill_signature = step, None
    if config.prefill:
        prefill_signature = headers.onnx(_beside(config.prefill, spec, headers))
        ports = read_prefill(prefill_signature, step, config.names)
    if unused := unused_names(config.names, *filter(None, (signature, prefill_signature))):
        message = f"config.names has {listed(unused)}, which no input or output is called"
        raise ComposerError(Problem("W282", message))
    model = read_model(spec, headers, ports)
    takers = [each for each in (ports, step) if each.takes_embeds]
    if bool(takers) != bool(config.embed):
        raise ComposerError(_embedding_problem(takers, ports))
    found = DecoderFiles(signature, step, ports, model, prefill_signature)
    if not config.embed:
        return found
    embed_signature = headers.onnx(_beside(config.embed, spec, headers))
    embeddings = [read_embedding(embed_signature, each) for each in takers]
    return replace(found, embed_signature=embed_signature, embedding=embeddings[0])


def _beside(file: str, spec: Spec, headers: Headers) -> Location:
    """Return a file of the folder of tokenizer.json, or else of that of the graph."""
    assert spec.weights is not None
    place = checkpoint_folder(spec, headers)[0] / file
    near = folder_of(spec.weights, SUFFIX) / file
    return near if headers.exists(near) and not headers.exists(place) else place


def _embedding_problem(takers: list[DecoderPorts], ports: DecoderPorts) -> Problem:
    if takers:
        message = f"{takers[0].file} takes {EMBEDS}, and config.embed names no file that makes them"
        hint = "name it, from the folder of tokenizer.json: embed: onnx/embed_tokens.onnx"
    else:
        message = f"{ports.file} takes {IDS}, and config.embed names a file that embeds them"
        hint = "leave embed out"
    return Problem("W283", message, hint=hint)


def bind_sizes(found: DecoderFiles) -> dict[str, Bound]:
    """Bind the sizes that the decoder's file states."""
    vocabulary, file = found.model.vocabulary, found.ports.file
    dims = {"V": Bound(vocabulary.rows, vocabulary.witness)}
    for name, symbols in ((EMBEDS, "D"), (LAYERS, "LP")):
        value = found.ports.inputs.get(name)
        sizes = (value.dims or ())[2:] if value else ()
        if len(sizes) == 1 and name == LAYERS:
            symbols = "W"
        for symbol, size in zip(symbols, sizes, strict=False):
            if isinstance(size, int):
                dims[symbol] = Bound(size, f"{file}: {name}")
    return dims


def two_copies(found: DecoderFiles) -> tuple[str, ...]:
    """Say that two graphs hold the weights twice."""
    if found.prefill_signature is None:
        return ()
    each = [found.prefill_signature, found.signature]
    sizes = " and ".join(f"{graph.nbytes / 1e6:.3g} MB in {graph.file}" for graph in each)
    return (f"its weights are there twice: {sizes}",)


def _own_spaces(found: DecoderFiles) -> dict[str, Port]:
    """Return the ports, by methods and inputs, of embeddings that are whole, and of what follows.

    They are where a graph puts rows of encoders in place, or has projected them.
    """
    layers = found.ports.inputs.get(LAYERS)
    mixed = layers is not None and len(layers.dims or ()) == 3
    spaces = {}
    if mixed or (found.embedding and found.embedding.widths):
        spaces = {"embed": WHOLE, "embeds": WHOLE}
    if mixed:
        spaces["per_layer"] = MIXED
    return spaces


def missing_reasons(found: DecoderFiles) -> dict[str, str]:
    """Say of each method and port that others have why a decoder does not have it."""
    ports, file = found.ports, found.ports.file
    if not ports.takes_embeds:
        return dict.fromkeys(("embed", "embeds", "per_layer", *ROWS), f"{file}: {NO_ROWS}")
    assert found.embedding
    reasons = {"prompt": f"{file}: it takes {EMBEDS}, as `embed` gives them"}
    if LAYERS not in ports.inputs:
        reasons["per_layer"] = f"{file}: it has no input {LAYERS}"
    for port, name in ROWS.items():
        if name not in found.embedding.widths:
            reasons[port] = f"{found.embedding.file}: it has no input {name}; use scatter"
        elif name not in found.model.marks:
            reasons[port] = f"{found.model.config}: it has no {MARKS[name]}"
    return reasons


def own_methods(
    methods: Mapping[str, CallSignature], found: DecoderFiles
) -> dict[str, CallSignature]:
    """Return the methods of a decoder with the inputs that it has; rows of encoders are optional.

    Embeddings that are whole are in a space of their own, so that no row is put into them.
    """
    missing, own = missing_reasons(found), {}
    spaces = _own_spaces(found)
    for name, signature in methods.items():
        if name in missing:
            continue
        inputs, returns = {}, signature.returns
        for port, each in signature.inputs.items():
            if port not in missing:
                inputs[port] = (spaces[port],) if port in spaces else each
        if name in spaces:
            returns = dict.fromkeys(returns, spaces[name])
        optional = signature.optional & ROWS.keys() & inputs.keys()
        own[name] = replace(signature, inputs=inputs, returns=returns, optional=optional)
    return own
