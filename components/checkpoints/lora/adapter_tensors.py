"""Pair the tensors of an adapter and check them against the projections that they adapt."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from composer.core.errors import Place, Problem
from composer.core.location import Location
from composer.core.suggest import listed, nearest, some

from ..embedding_table import FLOATS, describe_tensor
from .pair import EMBEDDING, OUTSIDE, LinearShape, LoraPair
from .thinker import ROOT, source_name

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor

PREFIX = (
    r"(?:base_model\.model\.)?(?:thinker\.(?:model\.|audio_tower\.)?"
    r"|language_model\.model\.|model\.language_model\.|model\.)?"
)
NAME = re.compile(
    PREFIX + r"(?P<path>.+)\.(?:lora_(?P<mlx>[ab])|lora_(?P<peft>[AB])\.weight"
    r"|lora_embedding_(?P<table>[AB])|(?P<dora>m|lora_magnitude_vector(?:\.weight)?))"
)
MOST = 6  # problems of one code
LAYER = re.compile(r"layers\.(0|[1-9]\d{0,4})\.(.+)")


def split_layer(path: str) -> tuple[int, str]:
    """Return the layer of a path and what follows, 3, self_attn.q_proj; outside of all it is -1."""
    match = LAYER.fullmatch(path)
    return (int(match[1]), match[2]) if match else (-1, path)


@dataclass
class AdapterChecker:
    """Check one adapter against a decoder, and report one problem once for all its layers.

    `part` is what it is on: a decoder, or an encoder.

    Reports are grouped by their text before they are problems, with one witness and a count each
    and a limit for each code: `Problems`, which takes them in the end, keeps every one as it comes.
    """

    location: Location
    targets: Mapping[str, LinearShape]
    unused: Collection[str]
    part: str = "decoder"
    seen: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)  # that have PEFT's names for embeddings
    found: dict[tuple[str, str, str | None], list[tuple[str, ...]]] = field(default_factory=dict)

    def report(self, code: str, message: str, *causes: str, hint: str | None = None) -> None:
        self.found.setdefault((code, message, hint), []).append(causes)

    def problems(self) -> Iterator[Problem]:
        """Return what was reported, a few of each code; the first of several is the witness."""
        place, reported = Place(str(self.location)), Counter[str]()
        for (code, message, hint), causes in self.found.items():
            reported[code] += 1
            if reported[code] <= MOST:
                more = f", in {len(causes)} modules" if len(causes) > 1 else ""
                yield Problem(code, message + more, place, causes[0], hint)
        for code, count in reported.items():
            if count > MOST:
                yield Problem(code, f"{count - MOST} more of these are not shown", place)

    def pairs(
        self, tensors: Mapping[str, Tensor], excluded: Collection[str] = ()
    ) -> dict[str, LoraPair]:
        """Return the whole pairs by module, and report every tensor that is in none.

        A module of two spellings has a pair under each.

        `excluded` are the names of tensors that are something else.
        """
        halves: dict[tuple[str, str], dict[str, Tensor]] = {}
        strange = []
        for name, tensor in tensors.items():
            if name in excluded:
                continue
            match = NAME.fullmatch(name)
            if match is None:
                strange.append(describe_tensor(tensor))
                continue
            path, spelling = match["path"], ""
            if source_name(name).startswith(f"{ROOT}layers."):
                spelling = ROOT  # beside one under the model's own name
            side = match["mlx"] or match["peft"] or match["table"] or "magnitude"
            if match["table"]:
                self.tables.add(path)
            own = halves.setdefault((spelling, path), {})
            if side in own or side.swapcase() in own:
                message = f"two tensors are the {side.upper()} of {path}"
                self.report("W293", message, describe_tensor(tensor))
            own[side] = tensor
        if strange:
            self.report(
                "W293",
                f"tensors that are no part of a low-rank update: {some(strange)}",
                hint="wanted names that end in lora_a and lora_b, or lora_A.weight and "
                "lora_B.weight",
            )
        self.seen = {path for _, path in halves}
        pairs = {}
        for (spelling, path), own in halves.items():
            if pair := self._pair(path, own):
                pairs[spelling + path] = pair
        return pairs

    def _pair(self, path: str, own: Mapping[str, Tensor]) -> LoraPair | None:
        """Return a module's two tensors, if there are two that may belong together."""
        module = split_layer(path)[1]
        magnitude = own.get("magnitude")
        if {*own} - {"magnitude"} not in ({"a", "b"}, {"A", "B"}):
            self._report_half(path, own)
            return None
        flipped = "A" in own
        a, b = (own["A"], own["B"]) if flipped else (own["a"], own["b"])
        sound = True
        for tensor in (a, b):
            axes = len(tensor.shape)
            if tensor.dtype not in FLOATS or axes != 2:
                hint = None
                if axes == 3:
                    hint = "adapters of experts have three axes; they are not supported"
                self.report(
                    "W293",
                    f"{module}: a low-rank matrix is float32, float16 or bfloat16 with two axes, "
                    f"not {tensor.dtype} with {axes}",
                    f"adapter: {describe_tensor(tensor)}",
                    hint=hint,
                )
                sound = False
        if not sound:
            return None
        pair = LoraPair(path, a, b, flipped, magnitude, path in self.tables)
        if not magnitude:
            return pair
        if magnitude.dtype in FLOATS and magnitude.shape == (pair.outputs,):
            return pair
        self.report(
            "W293",
            f"{module}: DoRA's magnitude is one float for each output of B",
            f"adapter: {describe_tensor(magnitude)}",
            f"adapter: {describe_tensor(b)}",
        )
        return None

    def _report_half(self, path: str, own: Mapping[str, Tensor]) -> None:
        """Report a module that has one matrix alone, or two that do not belong together."""
        causes = [f"adapter: {describe_tensor(tensor)}" for tensor in own.values()]
        ends = [tensor.name.rpartition(f"{path}.")[2] for tensor in own.values()]
        message = f"{split_layer(path)[1]} has {' and '.join(sorted(ends))} alone"
        self.report("W291", message, *causes)

    def check(self, pair: LoraPair) -> None:
        """Check one module's ranks and widths against each other and the decoder's."""
        module = split_layer(pair.path)[1]
        a, b = f"adapter: {describe_tensor(pair.a)}", f"adapter: {describe_tensor(pair.b)}"
        target = self.targets.get(pair.path)
        if target and pair.is_transposed(target):
            self.report(
                "W290", f"{module}: the axes of A or B are exchanged", a, b,
                f"{self.part}: {target.witness}",
                hint="lora_a is [in, rank] and lora_b [rank, out]; lora_A is [rank, in] and "
                "lora_B [out, rank]",
            )  # fmt: skip
            return
        if pair.ranks[0] != pair.ranks[1]:
            self.report(
                "W289", f"{module}: A has rank {pair.ranks[0]} but B has {pair.ranks[1]}", a, b
            )
        elif pair.ranks[0] == 0:
            self.report("W289", f"{module}: the rank is 0", a, b)
        if pair.path in self.unused:
            return
        if target is None:
            self._report_missing(pair, module, a)
            return
        base = f"{self.part}: {target.witness}"
        if pair.flipped and pair.table != (pair.path == EMBEDDING):
            kind = "a table of embeddings" if pair.table else "a linear layer"
            self.report("W293", f"{module} has the matrices of {kind}, which it is not", a, base)
        for side, witness, have, want, verb in (
            ("A", a, pair.inputs, target.inputs, "takes"),
            ("B", b, pair.outputs, target.outputs, "gives"),
        ):
            if have != want:
                self.report(
                    "W290", f"{module}: {side} {verb} {have} but the {self.part}'s {verb} {want}",
                    witness, base,
                )  # fmt: skip

    def _report_missing(self, pair: LoraPair, module: str, witness: str) -> None:
        """Report a module that the decoder does not have, or not in this layer."""
        hint = None
        layer = split_layer(pair.path)[0]
        if not LAYER.fullmatch(pair.path):
            message = f"{pair.path.partition('.')[0]} is outside the {self.part}'s layers"
            where = [path for path in OUTSIDE if path in self.targets]
            hint = f"adapters go on {listed(['the projections inside the layers', *where])}"
        elif layer >= self.num_layers:
            message = f"the {self.part} has {self.num_layers} layers, but there is a layer {layer}"
        elif module in self.modules:
            message = f"the {self.part} has no {pair.path}"
        else:
            message = f"the {self.part} has no {module}"
            if near := nearest(module, self.modules):
                hint = f"did you mean {near}?"
        self.report("W288", message, witness, self.decoder_modules, hint=hint)

    @cached_property
    def num_layers(self) -> int:
        """How many layers the decoder has."""
        return 1 + max((split_layer(path)[0] for path in self.targets), default=-1)

    @cached_property
    def modules(self) -> list[str]:
        """What can be adapted in a layer."""
        return sorted({split_layer(path)[1] for path in self.targets if path not in OUTSIDE})

    @cached_property
    def decoder_modules(self) -> str:
        """What the decoder has to adapt, for messages."""
        witness = ""
        for path, target in self.targets.items():
            if path not in OUTSIDE:
                witness = target.witness
                break
        return f"{self.part}: {witness.partition(':')[0]} has {listed(self.modules)}"
