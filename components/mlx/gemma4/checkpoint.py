"""Find the text decoder in a Gemma-4 checkpoint and hold it against its config."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from composer.errors import ComposerError, Place, Problem
from composer.headers.quantization import Scheme
from composer.headers.refusal import show
from composer.headers.safetensors import Tensor, TensorIndex
from composer.location import Location

from .. import checkpoint
from ..checkpoint import HEAD, Checkpoint
from ..loader import DERIVED, count
from ..packing import some
from .config import MODELS, flatten, read_settings
from .layout import PARTS, faults, layout
from .settings import Settings

if TYPE_CHECKING:
    from composer.headers import Headers

PREFIXES = ("language_model.model.", "model.language_model.", "model.")
HEADS = (HEAD, f"language_model.{HEAD}", f"model.{HEAD}")
TOWERS = (
    "vision_tower.", "audio_tower.", "embed_vision.", "embed_audio.", "multi_modal_projector.",
    "vision_embedder.",
)  # fmt: skip
TABLE = "embed_tokens_per_layer"
BORROWED = re.compile(r"layers\.(\d+)\.self_attn\.([kv]_(?:proj|norm))\.")


@dataclass(frozen=True)
class Decoder:
    """A checkpoint whose names begin at the layers' list: embed_tokens.weight, layers.0...

    `table` is what its per-layer table is stored as, by part, which is no part of `loaded`.
    """

    checkpoint: Checkpoint
    settings: Settings
    prefix: str
    notes: tuple[Problem, ...]

    @property
    def borrowed(self) -> frozenset[str]:
        """Return the projections that layers with borrowed keys and values have not."""
        return frozenset(
            f"layers.{number}.self_attn.{name}"
            for number, layer in enumerate(self.settings.layers)
            for name in ("k_proj", "v_proj")
            if layer.borrows
        )

    @property
    def table(self) -> dict[str, Tensor]:
        tensors = self.checkpoint.tensors
        return {p: tensors[f"{TABLE}.{p}"] for p in PARTS if f"{TABLE}.{p}" in tensors}

    @property
    def loaded(self) -> dict[str, Tensor]:
        """Return the tensors that loading computes."""
        tensors = self.checkpoint.tensors
        return {n: t for n, t in tensors.items() if not n.startswith(f"{TABLE}.")}


def read_decoder(location: Location, headers: Headers) -> Decoder:
    """Read a folder's headers; raise ComposerError with everything that contradicts."""
    if not headers.exists(location / "config.json"):
        raise ComposerError(
            Problem(
                "W241",
                f"{location} has no config.json",
                hint="give the folder that holds config.json and the safetensors",
            )
        )
    outer, index = headers.config(location), headers.safetensors(location)
    place = Place(str(location / "config.json"))
    kind = outer.get("model_type")
    if kind not in MODELS:
        raise ComposerError(
            Problem(
                "W275",
                f"config.json has the model_type {show(str(kind))}; wanted {' or '.join(MODELS)}",
                place,
                hint="mlx.lm takes other language models",
            )
        )
    config, problems = flatten(outer)
    prefix = _prefix(location, index)
    text, strange, towers = _part(index, prefix)
    settings, more = read_settings(config, text)
    problems += [*more, *_strange(strange, prefix)]
    borrowing = settings.args["num_kv_shared_layers"] if settings else 0
    first = len(settings.layers) - borrowing if settings else 0
    dead = {name for name in text if _is_dead(name, first)} if borrowing else set()
    live = TensorIndex(
        {name: tensor for name, tensor in text.items() if name not in dead},
        index.metadata,
        index.files,
    )
    problems += _half_stored(settings, dead)
    config = _own(config, prefix, live)
    try:
        held = checkpoint.hold_checkpoint(location, headers, config, live)
    except ComposerError as error:
        _refuse([*problems, *error.problems], place)
        raise
    if settings:
        problems += faults(layout(settings), live, held.schemes, f"{location}: {prefix}")
    _refuse(problems, place)
    assert settings is not None
    notes = (*held.notes, *_ignored(location, towers, dead), *_squeezed(location, held.schemes))
    return Decoder(replace(held, notes=()), settings, prefix, notes)


def _refuse(problems: list[Problem], place: Place) -> None:
    errors = [each for each in problems if each.severity == "error"]
    if errors:
        raise ComposerError(each if each.place else replace(each, place=place) for each in errors)


def _prefix(location: Location, index: TensorIndex) -> str:
    for prefix in PREFIXES:
        if f"{prefix}embed_tokens.weight" in index:
            return prefix
    raise ComposerError(
        Problem(
            "W277",
            f"{location} has no embed_tokens.weight",
            Place(str(location)),
            (f"the tensors are: {some(index)}",),
            hint=f"their names should begin with {', '.join(PREFIXES[:-1])} or {PREFIXES[-1]}",
        )
    )


def _part(index: TensorIndex, prefix: str) -> tuple[dict[str, Tensor], list[Tensor], list[str]]:
    """Return the decoder's tensors under short names, what nobody knows, and other towers'."""
    text, strange, towers = dict[str, Tensor](), [], []
    for name, tensor in index.items():
        if name in HEADS:
            text[HEAD] = replace(tensor, name=HEAD)
        elif name.startswith(prefix) and not name.startswith(_towers(prefix)):
            for each in _split(replace(tensor, name=name.removeprefix(prefix))):
                text[each.name] = each
        elif name.startswith((*_towers(""), *_towers("model."))):
            towers.append(name)
        elif not DERIVED.search(name):
            strange.append(tensor)
    return {n: t for n, t in text.items() if not DERIVED.search(n)}, strange, towers


def _towers(prefix: str) -> tuple[str, ...]:
    return tuple(prefix + tower for tower in TOWERS)


def _split(tensor: Tensor) -> Iterator[Tensor]:
    """Return an expert tensor of transformers as those that mlx-lm makes of it."""
    name = tensor.name
    if name.endswith(".experts.down_proj"):
        base = name.removesuffix("down_proj")
        yield replace(tensor, name=f"{base}switch_glu.down_proj.weight")
    elif name.endswith(".experts.gate_up_proj") and len(tensor.shape) == 3:
        count, both, wide = tensor.shape
        base, half = name.removesuffix("gate_up_proj"), tensor.nbytes // 2
        for part in ("gate", "up"):
            yield replace(
                tensor,
                name=f"{base}switch_glu.{part}_proj.weight",
                shape=(count, both // 2, wide),
                nbytes=half,
            )
    else:
        yield tensor


def _is_dead(name: str, first: int) -> bool:
    match = BORROWED.match(name)
    return match is not None and int(match[1]) >= first


def _half_stored(settings: Settings | None, dead: set[str]) -> Iterator[Problem]:
    """Report keys that some of the borrowing layers store and others do not."""
    if settings is None or not dead:
        return
    borrow = [number for number, layer in enumerate(settings.layers) if layer.borrows]
    stored = sorted({int(name.split(".")[1]) for name in dead if ".k_proj.weight" in name})
    if stored != borrow:
        yield Problem(
            "W275",
            f"num_kv_shared_layers is {len(borrow)}, but of the last {len(borrow)} layers only "
            f"{some(stored)} store keys",
            causes=(
                f"config.json: layers {borrow[0]} to {borrow[-1]} borrow theirs",
                f"the first of the tensors is {min(dead)}",
            ),
            hint="either all of these layers store keys that nothing reads, or none does",
        )


def _own(config: dict[str, Any], prefix: str, live: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the config with the quantization of this decoder's modules, under short names."""
    table = config.get("quantization")
    if not isinstance(table, dict):
        return config
    modules = {name.rpartition(".")[0] for name in live}
    own = {}
    for key, value in table.items():
        short = key.removeprefix(prefix) if key.startswith(prefix) else key
        if key.removesuffix(".weight") in (head.removesuffix(".weight") for head in HEADS):
            short = HEAD.removesuffix(".weight")
        if not isinstance(value, dict | bool) or short in modules:
            own[short] = value
    return {**config, "quantization": own}


def _strange(tensors: list[Tensor], prefix: str) -> list[Problem]:
    if not tensors:
        return []
    first = tensors[0]
    return [
        Problem(
            "W278",
            f"{count(tensor.name for tensor in tensors)} neither the decoder's nor a tower's: "
            f"{some(tensor.name for tensor in tensors)}",
            causes=(
                f"{checkpoint.shown(first)} is there",
                f"Gemma-4 has its decoder, here under {prefix}*, and towers: {', '.join(TOWERS)}",
            ),
            hint="take them out of the checkpoint",
        )
    ]


def _ignored(location: Location, towers: list[str], dead: set[str]) -> Iterator[Problem]:
    place = Place(str(location))
    if towers:
        names = sorted({name.removeprefix("model.").partition(".")[0] for name in towers})
        yield Problem(
            "L325",
            f"{count(towers)} not read, of {', '.join(names)}: this is the text decoder",
            place,
            severity="warning",
        )
    if dead:
        yield Problem(
            "L326",
            f"{count(dead)} keys and values of layers that borrow theirs, and never read",
            place,
            (some(sorted(dead), 4),),
            severity="warning",
        )


def _squeezed(location: Location, schemes: Mapping[str, Scheme]) -> Iterator[Problem]:
    yield from squeezed(schemes, Place(str(location)), "the checkpoint is quantized in")


def squeezed(schemes: Mapping[str, Scheme], place: Place | None, what: str) -> Iterator[Problem]:
    """Warn of few bits where an error goes into every layer, or decides an expert."""
    paths = sorted(p for p in schemes if p.startswith(("embed_tokens", "per_layer_")))
    paths += sorted(p for p in schemes if ".per_layer_" in p)
    few = sorted(p for p, s in schemes.items() if p.endswith("router.proj") and s.bits < 8)
    for names, why in (
        (paths, "which every layer reads: an error there is added once per layer"),
        (few, "with fewer than 8 bits, which choose the experts"),
    ):
        if names:
            said = ", ".join(sorted({f"{schemes[name].bits} bits" for name in names}))
            yield Problem(
                "L324",
                f"{what} {some(names, 4)}, {why}",
                place,
                (f"{len(names)} modules at {said}",),
                hint="take a checkpoint, or a recipe, that quantizes the attention and MLP "
                "projections alone",
                severity="warning",
            )
