"""The costliest inputs within every limit, which no fuzzer would find in minutes."""

from tests.formats.making import tensors


def field(number: int, data: bytes) -> bytes:
    """Write a field of bytes as protobuf does."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    """Write a number of any length."""
    data = b""
    while value > 127:
        data += bytes([value & 127 | 128])
        value >>= 7
    return data + bytes([value])


def onnx(nodes: list[bytes]) -> bytes:
    """Write a model of nodes alone."""
    return b"\x08\x08" + field(8, b"\x10\x11") + field(7, b"".join(field(1, n) for n in nodes))


def node(reads: list[bytes], makes: list[bytes]) -> bytes:
    """Write a node that reads and makes values by name."""
    names = [field(1, name) for name in reads] + [field(2, name) for name in makes]
    return b"".join(names) + field(4, b"Neg")


def fan() -> bytes:
    """Write a node of very many outputs and others that read them all."""
    names = [b"v%d" % number for number in range(49_000)]
    return onnx([node([], names), *(node(names, []) for _ in range(9))])


def chain() -> bytes:
    """Write as many nodes as a graph may have, each reading the last."""
    return onnx([node([b"v%d" % n], [b"v%d" % (n + 1)]) for n in range(49_999)])


def objects() -> bytes:
    """Write a header of nested objects, of all JSON the heaviest for its bytes."""
    unit = b'{"":' * 6 + b"1" + b"}" * 6
    return tensors(b'{"a":[' + b",".join([unit] * 71_000) + b"]}")


def wide() -> bytes:
    """Write a header whose text takes four bytes a character because of one of them."""
    text = '{"__metadata__":{"a":"\U0001f600' + "a" * 9_999_900 + '\\ud83d\\ude00"}}'
    return tensors(text.encode())


def entries() -> bytes:
    """Write as many tensors as a file may hold."""
    entry = b'{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    names = (b'"%s%05d":' % (b"x" * 120, number) for number in range(50_000))
    return tensors(b"{" + b",".join(name + entry for name in names) + b"}")


def lists() -> bytes:
    """Write a manifest of as many values as one may hold."""
    keys = b", ".join(b"k%d: []" % number for number in range(4_990))
    return b"composer: 1\nname: x\ncomponents: {" + keys + b"}\n"


def lines() -> bytes:
    """Write a manifest of one long text in very many lines."""
    return b"composer: 1\nsummary: |\n" + b"  \xf0\x9f\x98\x80\n" * 37_000


INPUTS = {
    "fan": ("onnx", fan),
    "chain": ("onnx", chain),
    "objects": ("safetensors", objects),
    "wide": ("safetensors", wide),
    "entries": ("safetensors", entries),
    "lists": ("manifest", lists),
    "lines": ("manifest", lines),
}
