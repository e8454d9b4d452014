"""GGUF files: headers, vocabularies and blocks, by check, run, chat, new and quantize."""

import itertools
import struct

from tests.formats.test_gguf import ARRAY, HOSTILE, STRING, header, pair, text, u32, u64
from tests.fuzz.checkpoints import decoder
from tests.hostile.costly.case import Case
from tests.hostile.making import HEAD, bundle

MODEL = (
    HEAD
    + """components:
  decoder: {use: onnx.lm, weights: repo/model.gguf}
inputs: {ids: ids}
graph:
  embeds: {run: decoder.embed, with: {ids: $ids}}
  answer: {run: decoder.generate, with: {embeds: $embeds, max_tokens: 4}}
outputs: {text: $answer.text}
"""
)
NAN = struct.pack("<f", float("nan"))
F32 = 6


def described(data) -> Case:
    """Check a decoder in a GGUF file."""
    return command("check", data)


def command(verb, data, *more) -> Case:
    """Call a verb on a bundle whose decoder is a GGUF file."""

    def write(folder):
        source = bundle(folder / "bundle", MODEL, {"model.gguf": made(data)})
        return [verb, source, *(str(each).replace("OUT", str(folder / "out")) for each in more)]

    return write


def alone(data, *words) -> Case:
    """Call a command on a GGUF file without a manifest."""

    def write(folder):
        (folder / "model.gguf").write_bytes(made(data))
        return [str(word).replace("FILE", str(folder / "model.gguf")) for word in words]

    return write


def made(data):
    """Return bytes, or what makes them."""
    return data() if callable(data) else data


def texts(values) -> bytes:
    """Write an array of texts."""
    values = list(values)
    return u32(STRING) + u64(len(values)) + b"".join(map(text, values))


def pieces() -> bytes:
    """Write a vocabulary of which each of 1,300,000 pieces merges in every way that it is cut."""
    words = (
        "".join(each) for size in range(1, 20) for each in itertools.product("ab", repeat=size)
    )
    tokens = list(itertools.islice(words, 1_300_000))
    scores = u32(F32) + u64(len(tokens)) + bytes(4 * len(tokens))
    return header([
        pair("general.architecture", STRING, text("llama")),
        pair("tokenizer.ggml.model", STRING, text("llama")),
        pair("tokenizer.ggml.tokens", ARRAY, texts(tokens)),
        pair("tokenizer.ggml.scores", ARRAY, scores),
    ])  # fmt: skip


def long_pieces() -> bytes:
    """Write 500,000 pieces of 250 characters."""
    tokens = (f"{number:06d}" + "a" * 244 for number in range(500_000))
    return header([
        pair("general.architecture", STRING, text("llama")),
        pair("tokenizer.ggml.model", STRING, text("llama")),
        pair("tokenizer.ggml.tokens", ARRAY, texts(tokens)),
        pair("tokenizer.ggml.scores", ARRAY, u32(F32) + u64(500_000) + bytes(2_000_000)),
    ])  # fmt: skip


def merges() -> bytes:
    """Write as many merges of a byte-level vocabulary as an array may have."""
    return header([
        pair("general.architecture", STRING, text("llama")),
        pair("tokenizer.ggml.model", STRING, text("gpt2")),
        pair("tokenizer.ggml.tokens", ARRAY, texts(["a", "b", "ab"])),
        pair("tokenizer.ggml.merges", ARRAY, texts(["a b"] * 3_990_000)),
    ])  # fmt: skip


def keys() -> bytes:
    """Write as many long keys as a header may have."""
    return header([pair(f"{n:05d}" + "k" * 12_000, 7, b"\1") for n in range(9_990)])


def not_numbers() -> bytes:
    """Return a decoder whose projections are NaN."""
    sound = decoder("llama")
    return sound[:-4128] + NAN * 1000 + sound[-128:]


COSTLY = {
    "pieces that merge in every way": pieces,
    "500 000 pieces of 250 characters": long_pieces,
    "4 000 000 merges": merges,
    "10 000 keys of 12 kB": keys,
}
ANSWER = ("-i", "ids=[0,1]")
GGUF = {
    **{name: described(data) for name, (data, _) in HOSTILE.items()},
    **{name: described(data) for name, data in COSTLY.items()},
    **{f"{name}, new --from": alone(data, "new", "OUT", "--from", "FILE")
       for name, data in COSTLY.items()},
    **{f"{name}, chat": alone(data, "chat", "FILE") for name, data in COSTLY.items()},
    **{f"{name}, quantize": command("quantize", data, "-o", "OUT", "--precision", "decoder=int8")
       for name, data in COSTLY.items()},
    "a sound decoder": command("run", lambda: decoder("llama"), *ANSWER),
    "weights that are no numbers": command("run", not_numbers, *ANSWER),
    "a decoder cut in its tensors": command("run", lambda: decoder("llama")[:-100], *ANSWER),
    "a decoder, quantized": command(
        "quantize", lambda: decoder("llama"), "-o", "OUT", "--precision", "decoder=int8"
    ),
}  # fmt: skip
