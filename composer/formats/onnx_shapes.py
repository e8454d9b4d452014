"""Work out the shapes of values of an ONNX graph where the file alone fixes them.

A length that only a run gives is None, and counts as one: a size is what it is at least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from composer.formats.onnx_initializers import DTYPES
from composer.formats.onnx_values import MOST_NUMBERS, Known, Lengths, count


class Call(NamedTuple):
    """A node: its operator, its inputs where they are known, and its attributes of integers."""

    name: str
    op: str
    inputs: Sequence[Known | None]
    integers: Mapping[str, tuple[int, ...]]
    value: Known | None = None
    equation: str = ""

    def given(self, place: int) -> Known | None:
        return self.inputs[place] if place < len(self.inputs) else None

    def numbers(self, place: int, attribute: str = "") -> tuple[int, ...] | None:
        """Return the integers of an attribute, or of an input that took its place."""
        known = self.given(place)
        return self.integers.get(attribute) or (known.numbers if known else None)


class Result(NamedTuple):
    """What a node gives, and how many multiplications it takes."""

    known: Known
    products: int = 0


def _broadcast(*shapes: Lengths) -> Lengths:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(_longest(lengths) for lengths in zip(*padded, strict=True))


def _longest(lengths: Sequence[int | None]) -> int | None:
    known = [length for length in lengths if length is not None and length != 1]
    if known:
        return max(known)
    return None if None in lengths else 1


def _same(call: Call) -> Result | None:
    known = call.given(0)
    return Result(known) if known else None


def _cast(call: Call) -> Result | None:
    known, to = call.given(0), call.integers.get("to", (0,))[0]
    if known is None or to not in DTYPES:
        return None
    return Result(Known(known.lengths, DTYPES[to][1], known.numbers))


def _compared(call: Call) -> Result | None:
    found = _elementwise(call)
    return Result(Known(found.known.lengths, 8)) if found else None


def _elementwise(call: Call) -> Result | None:
    found = [known for known in call.inputs if known]
    if not found:
        return None
    return Result(Known(_broadcast(*(known.lengths for known in found)), found[0].bits))


def _constant(call: Call) -> Result | None:
    if call.value:
        return Result(call.value)
    numbers = call.integers.get("value_ints") or call.integers.get("value_int")
    if numbers is None:
        return None
    lengths = (len(numbers),) if "value_ints" in call.integers else ()
    return Result(Known(lengths, 64, numbers))


def _filled(call: Call) -> Result | None:
    lengths = call.numbers(0)
    bits = call.value.bits if call.value else 32
    return None if lengths is None else Result(Known(lengths, bits))


def _expand(call: Call) -> Result | None:
    known, lengths = call.given(0), call.numbers(1)
    if lengths is None:
        return None
    shape = _broadcast(known.lengths, lengths) if known else lengths
    return Result(Known(shape, known.bits if known else 32))


def _tile(call: Call) -> Result | None:
    known, repeats = call.given(0), call.numbers(1)
    if repeats is None:
        return None
    lengths = known.lengths if known else (None,) * len(repeats)
    if len(lengths) != len(repeats):
        return None
    tiled = tuple((length or 1) * by for length, by in zip(lengths, repeats, strict=True))
    return Result(Known(tiled, known.bits if known else 32))


def _pad(call: Call) -> Result | None:
    known, pads = call.given(0), call.numbers(1, "pads")
    if pads is None or len(pads) % 2:
        return None
    half = len(pads) // 2
    lengths = known.lengths if known else (None,) * half
    if len(lengths) != half:
        return None
    padded = [(lengths[axis] or 1) + pads[axis] + pads[axis + half] for axis in range(half)]
    return Result(Known(tuple(max(0, length) for length in padded), known.bits if known else 32))


def _one_hot(call: Call) -> Result | None:
    known, depth = call.given(0), call.numbers(1)
    if depth is None or not depth:
        return None
    return Result(Known((*(known.lengths if known else ()), depth[0])))


def _resize(call: Call) -> Result | None:
    sizes = call.numbers(3)
    return None if sizes is None else Result(Known(sizes))


def _range(call: Call) -> Result | None:
    ends = [call.numbers(place) for place in range(3)]
    start, stop, step = (each[0] if each and len(each) == 1 else None for each in ends)
    if start is None or stop is None or not step:
        return None
    return Result(Known((max(0, -(-(stop - start) // step)),), 64))


def _reshape(call: Call) -> Result | None:
    known, lengths = call.given(0), call.numbers(1)
    if lengths is None:
        return None
    shape = tuple(length if length > 0 else None for length in lengths)
    if known and shape.count(None) == 1 and -1 in lengths and None not in known.lengths:
        rest = max(1, count(shape))
        shape = tuple(count(known.lengths) // rest if n is None else n for n in shape)
    return Result(Known(shape, known.bits if known else 32, known.numbers if known else None))


def _transpose(call: Call) -> Result | None:
    known = call.given(0)
    if known is None:
        return None
    order = call.integers.get("perm") or tuple(reversed(range(len(known.lengths))))
    if sorted(order) != list(range(len(known.lengths))):
        return None
    return Result(Known(tuple(known.lengths[axis] for axis in order), known.bits))


def _unsqueeze(call: Call) -> Result | None:
    known, axes = call.given(0), call.numbers(1, "axes")
    if known is None or axes is None:
        return None
    rank = len(known.lengths) + len(axes)
    places = {axis % rank for axis in axes}
    rest = iter(known.lengths)
    lengths = tuple(1 if axis in places else next(rest, None) for axis in range(rank))
    return Result(Known(lengths, known.bits, known.numbers))


def _shape(call: Call) -> Result | None:
    known = call.given(0)
    if known is None or None in known.lengths or len(call.integers):
        return None
    numbers = tuple(length for length in known.lengths if length is not None)
    return Result(Known((len(numbers),), 64, numbers))


def _concat(call: Call) -> Result | None:
    numbers: list[int] = []
    for known in call.inputs:
        if known is None or known.numbers is None:
            return None
        numbers += known.numbers
    return Result(Known((len(numbers),), 64, tuple(numbers[:MOST_NUMBERS])))


def _matmul(call: Call) -> Result | None:
    left, right = call.given(0), call.given(1)
    if left is None or right is None or len(left.lengths) < 2 or len(right.lengths) < 2:
        return None
    turned = [bool(call.integers.get(key, (0,))[0]) for key in ("transA", "transB")]
    a, b = (
        (*known.lengths[:-2], *reversed(known.lengths[-2:])) if turn else known.lengths
        for known, turn in zip((left, right), turned, strict=True)
    )
    lengths = (*_broadcast(a[:-2] or (1,), b[:-2] or (1,)), a[-2], b[-1])
    rank = max(len(a), len(b))
    return Result(Known(lengths[-rank:], left.bits), count(lengths) * (a[-1] or b[-2] or 1))


def _einsum(call: Call) -> Result | None:
    terms, arrow, out = call.equation.replace(" ", "").partition("->")
    letters: dict[str, int | None] = {}
    for term, known in zip(terms.split(","), call.inputs, strict=False):
        if known is None or len(known.lengths) != len(term) or not term.isalpha():
            return None
        letters |= dict(zip(term, known.lengths, strict=True))
    if not arrow or not set(out) <= letters.keys():
        return None
    return Result(Known(tuple(letters[letter] for letter in out)), count(tuple(letters.values())))


RULES: dict[str, Callable[[Call], Result | None]] = {
    "Constant": _constant, "ConstantOfShape": _filled, "Expand": _expand, "Tile": _tile,
    "Pad": _pad, "OneHot": _one_hot, "Resize": _resize, "Range": _range, "Reshape": _reshape,
    "Transpose": _transpose, "Unsqueeze": _unsqueeze, "Shape": _shape, "Concat": _concat,
    "Cast": _cast, "MatMul": _matmul, "Gemm": _matmul, "Einsum": _einsum,
    **dict.fromkeys("Add Div Max Mean Min Mod Mul Pow Sub Sum Where".split(), _elementwise),
    **dict.fromkeys("And Equal Greater GreaterOrEqual Less LessOrEqual Or Xor".split(), _compared),
    **dict.fromkeys("Abs Ceil Clip Cos Dropout Erf Exp Floor Gelu Identity LeakyRelu Log "
                    "LogSoftmax Neg Not Relu Round Sigmoid Sign Sin Softmax Softplus Sqrt Tanh "
                    "LayerNormalization CumSum".split(), _same),
}  # fmt: skip
