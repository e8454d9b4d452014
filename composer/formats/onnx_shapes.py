"""Work out the shapes of values of an ONNX graph where the file alone fixes them.

A length that only a run gives is None, and counts as one: a size is what it is at least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from composer.formats.onnx_call import NodeCall
from composer.formats.onnx_initializers import DTYPES
from composer.formats.onnx_values import MOST_NUMBERS, KnownValue, Lengths, least_count


class InferredShape(NamedTuple):
    """What a node gives, and how many multiplications it takes."""

    known: KnownValue
    products: int = 0


def _broadcast(*shapes: Lengths) -> Lengths:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(_longest(lengths) for lengths in zip(*padded, strict=True))


def _longest(lengths: Sequence[int | None]) -> int | None:
    known = [length for length in lengths if length is not None and length != 1]
    if known:
        return max(known)
    if None in lengths:
        return None
    return 1


def _same(call: NodeCall) -> InferredShape | None:
    known = call.given(0)
    if known is None:
        return None
    return InferredShape(known)


def _cast(call: NodeCall) -> InferredShape | None:
    known, to = call.given(0), call.integers.get("to", (0,))[0]
    if known is None or to not in DTYPES:
        return None
    return InferredShape(KnownValue(known.lengths, DTYPES[to][1], known.numbers))


def _compared(call: NodeCall) -> InferredShape | None:
    found = _elementwise(call)
    if found is None:
        return None
    return InferredShape(KnownValue(found.known.lengths, 8))


def _elementwise(call: NodeCall) -> InferredShape | None:
    found = [known for known in call.inputs if known]
    if not found:
        return None
    return InferredShape(KnownValue(_broadcast(*(known.lengths for known in found)), found[0].bits))


def _constant(call: NodeCall) -> InferredShape | None:
    if call.value:
        return InferredShape(call.value)
    numbers = call.integers.get("value_ints") or call.integers.get("value_int")
    if numbers is None:
        return None
    lengths = (len(numbers),) if "value_ints" in call.integers else ()
    return InferredShape(KnownValue(lengths, 64, numbers))


def _filled(call: NodeCall) -> InferredShape | None:
    lengths = call.numbers(0)
    if lengths is None:
        return None
    return InferredShape(KnownValue(lengths, call.value.bits if call.value else 32))


def _expand(call: NodeCall) -> InferredShape | None:
    known, lengths = call.given(0), call.numbers(1)
    if lengths is None:
        return None
    shape: Lengths = lengths
    if known:
        shape = _broadcast(known.lengths, lengths)
    return InferredShape(KnownValue(shape, call.bits))


def _tile(call: NodeCall) -> InferredShape | None:
    repeats = call.numbers(1)
    if repeats is None:
        return None
    lengths = call.lengths(len(repeats))
    if len(lengths) != len(repeats):
        return None
    tiled = tuple((length or 1) * by for length, by in zip(lengths, repeats, strict=True))
    return InferredShape(KnownValue(tiled, call.bits))


def _pad(call: NodeCall) -> InferredShape | None:
    pads = call.numbers(1, "pads")
    if pads is None or len(pads) % 2:
        return None
    half = len(pads) // 2
    lengths = call.lengths(half)
    if len(lengths) != half:
        return None
    padded = []
    for length, before, after in zip(lengths, pads[:half], pads[half:], strict=True):
        padded.append(max(0, (length or 1) + before + after))
    return InferredShape(KnownValue(tuple(padded), call.bits))


def _one_hot(call: NodeCall) -> InferredShape | None:
    depth = call.numbers(1)
    if not depth:
        return None
    return InferredShape(KnownValue((*call.lengths(0), depth[0])))


def _resize(call: NodeCall) -> InferredShape | None:
    sizes = call.numbers(3)
    if sizes is None:
        return None
    return InferredShape(KnownValue(sizes))


def _range(call: NodeCall) -> InferredShape | None:
    ends: list[int] = []
    for place in range(3):
        numbers = call.numbers(place) or ()
        if len(numbers) != 1:
            return None
        ends += numbers
    start, stop, step = ends
    if not step:
        return None
    return InferredShape(KnownValue((max(0, -(-(stop - start) // step)),), 64))


def _reshape(call: NodeCall) -> InferredShape | None:
    known, lengths = call.given(0), call.numbers(1)
    if lengths is None:
        return None
    shape: list[int | None] = [length if length > 0 else None for length in lengths]
    if known is None:
        return InferredShape(KnownValue(tuple(shape)))
    if shape.count(None) == 1 and -1 in lengths and None not in known.lengths:
        rest = max(1, least_count(tuple(shape)))
        shape[shape.index(None)] = least_count(known.lengths) // rest
    return InferredShape(KnownValue(tuple(shape), known.bits, known.numbers))


def _transpose(call: NodeCall) -> InferredShape | None:
    known = call.given(0)
    if known is None:
        return None
    order = call.integers.get("perm") or tuple(reversed(range(len(known.lengths))))
    if sorted(order) != list(range(len(known.lengths))):
        return None
    return InferredShape(KnownValue(tuple(known.lengths[axis] for axis in order), known.bits))


def _unsqueeze(call: NodeCall) -> InferredShape | None:
    known, axes = call.given(0), call.numbers(1, "axes")
    if known is None or axes is None:
        return None
    rank = len(known.lengths) + len(axes)
    places = {axis % rank for axis in axes}
    rest = iter(known.lengths)
    lengths = tuple(1 if axis in places else next(rest, None) for axis in range(rank))
    return InferredShape(KnownValue(lengths, known.bits, known.numbers))


def _shape(call: NodeCall) -> InferredShape | None:
    known = call.given(0)
    if known is None or call.integers:
        return None
    numbers = tuple(length for length in known.lengths if length is not None)
    if len(numbers) < len(known.lengths):
        return None
    return InferredShape(KnownValue((len(numbers),), 64, numbers))


def _concat(call: NodeCall) -> InferredShape | None:
    numbers: list[int] = []
    for known in call.inputs:
        if known is None or known.numbers is None:
            return None
        numbers += known.numbers
    return InferredShape(KnownValue((len(numbers),), 64, tuple(numbers[:MOST_NUMBERS])))


def _matmul(call: NodeCall) -> InferredShape | None:
    left, right = call.given(0), call.given(1)
    if left is None or right is None or len(left.lengths) < 2 or len(right.lengths) < 2:
        return None
    a, b = left.lengths, right.lengths
    if call.integers.get("transA", (0,))[0]:
        a = (*a[:-2], a[-1], a[-2])
    if call.integers.get("transB", (0,))[0]:
        b = (*b[:-2], b[-1], b[-2])
    lengths = (*_broadcast(a[:-2] or (1,), b[:-2] or (1,)), a[-2], b[-1])
    rank = max(len(a), len(b))
    return InferredShape(
        KnownValue(lengths[-rank:], left.bits), least_count(lengths) * (a[-1] or b[-2] or 1)
    )


def _einsum(call: NodeCall) -> InferredShape | None:
    terms, arrow, out = call.equation.replace(" ", "").partition("->")
    letters: dict[str, int | None] = {}
    for term, known in zip(terms.split(","), call.inputs, strict=False):
        if known is None or len(known.lengths) != len(term) or not term.isalpha():
            return None
        letters |= dict(zip(term, known.lengths, strict=True))
    if not arrow or not set(out) <= letters.keys():
        return None
    return InferredShape(
        KnownValue(tuple(letters[letter] for letter in out)), least_count(tuple(letters.values()))
    )


RULES: dict[str, Callable[[NodeCall], InferredShape | None]] = {
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
