"""What each input and output of a published decoder is for, by its name, type and shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from composer.core.errors import Place
from composer.core.location import Location
from composer.core.problems import Problems
from composer.core.suggest import listed

from ..graph_contract import shape_text
from .names import usual_name

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
Part = Literal["whole", "prefill", "step"]


@dataclass(frozen=True)
class CachePort:
    """The keys or the values [B, heads, rows, head_dim] of a layer: what goes in and comes out."""

    past: OnnxValue
    present: str
    heads: int
    head_dim: int
    key: tuple[str, str]  # its layer, and whether it is keys or values


@dataclass(frozen=True)
class PresentPort:
    """The keys or the values of a layer that go out."""

    value: OnnxValue
    key: tuple[str, str]


@dataclass(frozen=True)
class DecoderPorts:
    """A decoder's inputs by their usual names, its caches in the file's order, and its logits.

    Each has the name that the file has for it. A graph that reads a prompt has `presents` alone.
    """

    file: Location
    inputs: Mapping[str, OnnxValue]
    caches: tuple[CachePort, ...]
    presents: tuple[PresentPort, ...]
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
    def one_by_one(self) -> bool:
        """Return whether it takes one token at a time."""
        return 1 in (self.tokens.dims or ())[1:2]

    @property
    def row_nbytes(self) -> int:
        """Return the bytes of one row in all caches."""
        sizes = {"f32": 4, "f16": 2}
        return sum(sizes[each.past.dtype] * each.heads * each.head_dim for each in self.caches)


def read_ports(
    signature: OnnxSignature, names: Mapping[str, str], part: Part = "whole"
) -> DecoderPorts:
    """Find out what inputs and outputs are for; raise ComposerError W282 with all that is not.

    `names` are the usual ones of those that have others. Of two graphs `prefill` has no cache that
    comes in, and `step` may take one token alone.
    """
    problems = Problems(place=Place(str(signature.file)))
    given = {usual_name(each.name, names): each for each in signature.inputs}
    made = {usual_name(each.name, names): each for each in signature.outputs}
    inputs = {name: each for name, each in given.items() if name in KNOWN}
    if (IDS in inputs) == (EMBEDS in inputs):
        which = "both" if IDS in inputs else "neither"
        problems.report(
            "W282",
            f"a decoder takes either {IDS} or {EMBEDS}, and this one {which}",
            f"its inputs: {listed([*given])}",
        )
    for name, value in inputs.items():
        if wrong := unlike(value, name, part == "step"):
            problems.report("W282", wrong)
    caches = list(_caches(given, made, problems, part))
    presents = []
    for name, value in made.items():
        key = _cache_key(name)
        if key and key[0] == "present":
            presents.append(PresentPort(value, key[1:]))
    logits = made.get(LOGITS)
    if logits is None:
        problems.report(
            "W282",
            f"a decoder has the output {LOGITS}",
            f"its outputs: {listed([*made])}",
        )
    elif wrong := unlike(logits, LOGITS):
        problems.report("W282", wrong)
    problems.raise_any()
    assert logits is not None
    return DecoderPorts(signature.file, inputs, tuple(caches), tuple(presents), logits)


def _caches(
    given: Mapping[str, OnnxValue],
    made: Mapping[str, OnnxValue],
    problems: Problems,
    part: Part,
) -> Iterator[CachePort]:
    """Yield the caches, each with the output of the same layer and kind."""
    presents = {_cache_key(name): each.name for name, each in made.items()}
    found = 0
    for name, value in given.items():
        key = _cache_key(name)
        if key is None or key[0] != "past":
            if name not in KNOWN:
                problems.report(
                    "W282",
                    f"nothing is known to go into the input {_text(value)}",
                    hint=f"known are {listed(KNOWN)} and past_key_values.N.key and .value; if it "
                    f"is one of these, config: {{names: {{{value.name}: NAME}}}} says so",
                )
            continue
        found += 1
        wrong = unlike(value, name)
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
        present = presents["present", *key[1:]]
        yield CachePort(value, present, dims[1], dims[3], key[1:])
    if part == "prefill" and found:
        hint = "give it as `weights`, and leave prefill out"
        problems.report("W282", "it takes a cache: it reads prompts and continues them", hint=hint)
    if part != "prefill" and not found:
        problems.report(
            "W282",
            "it has no cache: no input past_key_values.N.key, and so it would read a text anew for "
            "each token",
            hint="export it with its cache: text-generation-with-past; where there are two files, "
            "this is the one for config: {prefill: FILE}",
        )


def _cache_key(name: str) -> tuple[str, str, str] | None:
    """Return which layer's keys or values a name means, coming in or going out."""
    found = CACHE.fullmatch(name)
    if found is None:
        return None
    way, layer, kind, first_kind, last_layer = found.groups()
    return way, str(int(layer or last_layer)), kind or first_kind


def unlike(value: OnnxValue, name: str, one: bool = False) -> str:
    """Say how a tensor differs from what its usual name promises, or nothing; `one` row will do."""
    text, dims = _text(value), value.dims
    dtypes, ranks = FORMS.get(name, CACHED)
    if value.dtype not in dtypes or dims is None or len(dims) not in ranks:
        axes = " or ".join(map(str, ranks))
        return f"{text} is not {' or '.join(dtypes)} with {axes} axes"
    if name in (KEEP, BRANCH, *FEATURES):
        return ""
    if name == POSITIONS and len(dims) == AXES:
        if dims[0] != AXES:
            return f"{text} has {dims[0]} kinds of positions, and {AXES} are known"
        dims = dims[1:]
    if isinstance(dims[0], int) and dims[0] != 1:
        return f"{text} is for a batch of {dims[0]}"
    length = dims[1] if name in FORMS else dims[2]
    if one and length == 1 and name != MASK:
        return ""
    if isinstance(length, int) and name != LOGITS:
        return f"{text} always has {length} rows, and a text any number"
    return ""


def _text(value: OnnxValue) -> str:
    return f"{value.name} {value.dtype} {shape_text(value.dims or ())}"
