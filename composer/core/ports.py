"""The type language of ports: `dtype dims @space`, or a word for what is no tensor.

i64 T            ids or counts: one axis, named T
T D @embed       floats in the component's own precision, in the embedding space `embed`
bool F           a mask over F frames
f32 M 3000       a literal dim
text             a string; `audio`: a waveform; `image`: pixels
text | _ _       either; `_` matches any length, each time anew
bool T #speech   a mask that marks one of T positions for each row of the input `speech`, in order;
                 `#speech+picture` marks the rows of both, first those of `speech`
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FLOATS = ("f32", "f16", "bf16", "f64")
INTEGERS = ("i64", "i32", "i16", "i8", "u8", "u16", "u32", "u64")
DTYPES = (*FLOATS, *INTEGERS, "bool")
KINDS = ("text", "audio", "image")
ITEM_BYTES = {"f64": 8, "i64": 8, "u64": 8, "f32": 4, "i32": 4, "u32": 4, "f16": 2, "bf16": 2}

Dim = int | str

_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9_]*|_")


@dataclass(frozen=True)
class Port:
    """What flows through one input or output.

    `dtype` None is any float: the component's own. `space` names an embedding space: a lower-case
    name belongs to the component, an upper-case one is a variable that one node's ports share.
    `marks` names inputs of the same method whose rows the mask marks, in this order.
    """

    kind: str = "tensor"
    dtype: str | None = None
    dims: tuple[Dim, ...] = ()
    space: str | None = None
    marks: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [str(dim) for dim in self.dims]
        if self.dtype or self.kind != "tensor":
            parts.insert(0, self.dtype or self.kind)
        if self.marks:
            parts.append(f"#{'+'.join(self.marks)}")
        if self.space:
            parts.append(f"@{self.space}")
        return " ".join(parts)


Ports = tuple[Port, ...]


def item_bytes(dtype: str) -> int:
    """Return the bytes of one number of `dtype`."""
    return ITEM_BYTES.get(dtype, 1)


def parse_port(text: str) -> Port:
    """Read one port; raise ValueError with what is wrong."""
    words = text.split()
    space = None
    if words and words[-1].startswith("@"):
        space = words.pop()[1:]
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", space):
            raise ValueError(f"'@{space}' in '{text}' is not a space: write a name after '@'")
    marks: tuple[str, ...] = ()
    if words and words[-1].startswith("#"):
        marks = tuple(words.pop()[1:].split("+"))
        if not all(map(str.isidentifier, marks)):
            raise ValueError(
                f"'#{'+'.join(marks)}' in '{text}' marks nothing: name inputs after '#'"
            )
    kind, dtype = "tensor", None
    if words and words[0] in KINDS:
        kind = words.pop(0)
    elif words and words[0] in DTYPES:
        dtype = words.pop(0)
    elif not words:
        raise ValueError("a port is 'dtype dims @space', such as 'f32 T D', or text, audio, image")
    for word in words:
        if not (word.isdigit() or _SYMBOL.fullmatch(word)):
            raise ValueError(f"'{word}' in '{text}' is neither a number, a symbol nor '_'")
    dims = tuple(int(word) if word.isdigit() else word for word in words)
    return Port(kind, dtype, dims, space, marks)


def parse_ports(text: str) -> Ports:
    """Read the alternatives of an input, separated by '|'."""
    return tuple(parse_port(part) for part in text.split("|"))


def is_float(dtype: str | None) -> bool:
    """Return whether a dtype is floating point; None is any float."""
    return dtype is None or dtype in FLOATS


def can_cast(have: str | None, want: str | None) -> bool:
    """Return whether a cast keeps the meaning: floats to floats, integers to integers."""
    if have == "bool" or want == "bool":
        return have == want
    if have in INTEGERS:
        return want in INTEGERS
    return is_float(want)


def matching_alternative(ports: Ports, have: Port) -> Port | None:
    """Return the alternative of an input that a value goes to; None where no kind is the same."""
    same = [port for port in ports if port.kind == have.kind]
    for port in same:
        if can_cast(have.dtype, port.dtype):
            return port
    return same[0] if same else None
