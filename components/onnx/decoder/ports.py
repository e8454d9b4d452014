"""What each input and output of a published decoder is for, by its name, type and shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.core.errors import Place
from composer.core.location import Location
from composer.core.problems import Problems
from composer.core.suggest import listed

from ..graph_contract import shape_text

if TYPE_CHECKING:
    from composer.formats import OnnxSignature, OnnxValue

IDS, EMBEDS, LAYERS = "input_ids", "inputs_embeds", "per_layer_inputs"
MASK, POSITIONS, KEEP, BRANCH = (
    "attention_mask", "position_ids", "num_logits_to_keep", "use_cache_branch",
)  # fmt: skip
LOGITS = "logits"
FEATURES = ("image_features", "audio_features")  # rows of encoders, put in place by a graph
NUMBERS, INTEGERS = ("f32", "f16"), ("i64", "i32")
# Of each input: its types, and how many axes it may have.
FORMS: Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    IDS: (INTEGERS, (2,)),
    EMBEDS: (NUMBERS, (3,)),
    LAYERS: (NUMBERS, (3, 4)),
    MASK: (INTEGERS, (2,)),
    POSITIONS: (INTEGERS, (2, 3)),
    KEEP: (INTEGERS, (0, 1)),
    BRANCH: (("bool",), (1,)),
    LOGITS: (NUMBERS, (2, 3)),
    **dict.fromkeys(FEATURES, (NUMBERS, (2,))),
}
KNOWN = (IDS, EMBEDS, LAYERS, MASK, POSITIONS, KEEP, BRANCH)
CACHED = (NUMBERS, (4,))
CACHE = re.compile(
    r"(past|present)(?:_key_values)?[._](?:(\d{1,4})[._](key|value)|(key|value)s?[._](\d{1,4}))"
)
AXES = 3  # of positions in time, height and width, which are the same for text


@dataclass(frozen=True)
class CachePort:
    """The keys or the values [B, heads, rows, head_dim] of a layer: what goes in and comes out."""

    past: OnnxValue
    present: str
    heads: int
    head_dim: int


@dataclass(frozen=True)
class DecoderPorts:
    """A decoder's inputs by what they are for, the caches in the file's order, and its logits."""

    file: Location
    inputs: Mapping[str, OnnxValue]
    caches: tuple[CachePort, ...]
    logits: OnnxValue

    @property
    def takes_embeds(self) -> bool:
        """Return whether it takes embeddings, and not ids."""
        return EMBEDS in self.inputs

    @property
    def tokens(self) -> OnnxValue:
        """Return the input that a text comes in by."""
        return self.inputs[EMBEDS if self.takes_embeds else IDS]

    @property
    def row_nbytes(self) -> int:
        """Return the bytes of one row in all caches."""
        sizes = {"f32": 4, "f16": 2}
        return sum(sizes[each.past.dtype] * each.heads * each.head_dim for each in self.caches)


def read_ports(signature: OnnxSignature) -> DecoderPorts:
    """Find out what inputs and outputs are for; raise ComposerError W282 with all that is not."""
    problems = Problems(place=Place(str(signature.file)))
    inputs = {each.name: each for each in signature.inputs if each.name in KNOWN}
    if (IDS in inputs) == (EMBEDS in inputs):
        given = listed([each.name for each in signature.inputs])
        which = "both" if IDS in inputs else "neither"
        problems.report(
            "W282",
            f"a decoder takes either {IDS} or {EMBEDS}, and this one {which}",
            f"its inputs: {given}",
        )
    for value in inputs.values():
        if wrong := unlike(value):
            problems.report("W282", wrong)
    caches = list(_caches(signature, problems))
    logits = next((each for each in signature.outputs if each.name == LOGITS), None)
    if logits is None:
        problems.report(
            "W282",
            f"a decoder has the output {LOGITS}",
            f"its outputs: {listed([each.name for each in signature.outputs])}",
        )
    elif wrong := unlike(logits):
        problems.report("W282", wrong)
    problems.raise_any()
    assert logits is not None
    return DecoderPorts(signature.file, inputs, tuple(caches), logits)


def _caches(signature: OnnxSignature, problems: Problems) -> Iterator[CachePort]:
    """Yield the caches, each with the output of the same layer and kind."""
    presents = {_cache_key(each.name): each.name for each in signature.outputs}
    found = 0
    for value in signature.inputs:
        key = _cache_key(value.name)
        if key is None or not value.name.startswith("past"):
            if value.name not in KNOWN:
                problems.report(
                    "W282",
                    f"nothing is known to go into the input {value.name} "
                    f"{value.dtype} {shape_text(value.dims or ())}",
                    hint=f"known are {listed(KNOWN)} and past_key_values.N.key and .value",
                )
            continue
        found += 1
        wrong = unlike(value)
        dims = value.dims or ()
        if not wrong and not (isinstance(dims[1], int) and isinstance(dims[3], int)):
            wrong = f"{_text(value)} does not say how many heads it has, or how wide they are"
        if not wrong and ("present", *key[1:]) not in presents:
            wrong = f"{_text(value)} has no output present.{key[1]}.{key[2]}"
        if wrong:
            problems.report("W282", wrong)
            continue
        assert isinstance(dims[1], int)
        assert isinstance(dims[3], int)
        yield CachePort(value, presents["present", *key[1:]], dims[1], dims[3])
    if not found:
        problems.report(
            "W282",
            "it has no cache: no input past_key_values.N.key, and so it would read a text anew for "
            "each token",
            hint="export it with its cache: text-generation-with-past",
        )


def _cache_key(name: str) -> tuple[str, int, str] | None:
    """Return which layer's keys or values a name means, coming in or going out."""
    found = CACHE.fullmatch(name)
    if found is None:
        return None
    way, layer, kind, first_kind, last_layer = found.groups()
    return way, int(layer or last_layer), kind or first_kind


def unlike(value: OnnxValue) -> str:
    """Say how a tensor differs from what its name promises, or nothing."""
    text, dims = _text(value), value.dims
    dtypes, ranks = FORMS.get(value.name, CACHED)
    if value.dtype not in dtypes or dims is None or len(dims) not in ranks:
        axes = " or ".join(map(str, ranks))
        return f"{text} is not {' or '.join(dtypes)} with {axes} axes"
    if value.name in (KEEP, BRANCH, *FEATURES):
        return ""
    if value.name == POSITIONS and len(dims) == AXES:
        if dims[0] != AXES:
            return f"{text} has {dims[0]} kinds of positions, and {AXES} are known"
        dims = dims[1:]
    if isinstance(dims[0], int) and dims[0] != 1:
        return f"{text} is for a batch of {dims[0]}"
    length = dims[1] if value.name in FORMS else dims[2]
    if isinstance(length, int) and value.name != LOGITS:
        return f"{text} always has {length} rows, and a text any number"
    return ""


def _text(value: OnnxValue) -> str:
    return f"{value.name} {value.dtype} {shape_text(value.dims or ())}"
