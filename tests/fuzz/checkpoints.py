"""Tokenizers, configs, locks and arrays, and what reads them."""

import json
import tempfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from safetensors.numpy import save

from composer.cli.values import parse_inputs
from composer.components.checkpoints.gguf.decoder_file import read_decoder_file
from composer.core import registry
from composer.core.component import Adapter, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats import Headers, LocalFiles, read_tokenizer
from composer.formats.gguf import read_gguf
from composer.sources.lock.entries import read_lock
from composer.sources.shipped import shipped_folder
from tests.formats.making import HERE, MemoryFiles, MemoryRanges, one

BUNDLES = shipped_folder("bundles")
MEGA, ELDERWISE, ALIGNER = (
    BUNDLES / f"{name}-mini" for name in ("mega-asr", "elderwise", "aligner")
)
CONFIGS = [
    ("onnx.lm", MEGA, "mlx/llm-mixed8_4", "tokenizer", "mlx/llm-mixed8_4/config.json"),
    ("mlx.lm", MEGA, "mlx/llm-mixed8_4", "tokenizer", "mlx/llm-mixed8_4/config.json"),
    ("onnx.lm", ALIGNER, "checkpoint", None, "checkpoint/config.json"),
    ("onnx.qwen3_asr_audio", ALIGNER, "checkpoint", None, "checkpoint/config.json"),
    ("onnx.gemma4", ELDERWISE, "decoder", "decoder", "decoder/config.json"),
    ("onnx.gemma4", ELDERWISE, "decoder", "decoder", "decoder/generation_config.json"),
    ("onnx.gemma4", ELDERWISE, "decoder", "decoder", "lora/lora_config.json"),
    ("onnx.meralion", ELDERWISE, "speech_encoder", None, "speech_encoder/encoder_config.json"),
    ("onnx.meralion", ELDERWISE, "speech_encoder", None, "speech_encoder/adaptor_config.json"),
]


TENSOR = SimpleNamespace(
    inputs={"x": SimpleNamespace(type="tensor")},
    values={"x": SimpleNamespace(port=SimpleNamespace(kind="tensor"))},
)


class Replaced(LocalFiles):
    """Files of a folder, but for one."""

    def __init__(self, inside: str, data: bytes) -> None:
        self.inside, self.data = inside, data

    def open(self, location, within=None):
        if location.inside == self.inside:
            return MemoryRanges(self.data)
        return super().open(location, within)


def read_config_file(data: bytes) -> None:
    """Describe a component of a miniature, by its number, from a config in place of its own."""
    number, _, config = data.partition(b"\n")
    kind, root, weights, files, name = CONFIGS[int.from_bytes(number, "big") % len(CONFIGS)]
    component = registry.component(kind)
    adapters = {"speech": Adapter(Location("repo", "lora", root), 20.0)} if "lora" in name else {}
    settings = component.Config(**({"head": False} if kind == "onnx.lm" and not files else {}))
    places = [Location("repo", inside, root) if inside else None for inside in (weights, files)]
    spec = Spec("decoder", settings, *places, adapters=adapters)
    component.facts(spec, Headers(Replaced(name, config)))


def read_tokenizer_file(data: bytes) -> None:
    """Read a tokenizer.json."""
    read_tokenizer(HERE / "tokenizer.json", MemoryFiles({"m/tokenizer.json": data}))


def read_gguf_file(data: bytes) -> None:
    """Read a GGUF file's header, the tokenizer in it, and the decoder that it is."""
    read_gguf(HERE, one(data))
    file = Location("repo", "model.gguf", None)
    files = MemoryFiles({"model.gguf": data})
    with suppress(ComposerError):
        read_tokenizer(file, files)
    read_decoder_file(file, Headers(files))


def read_lock_file(data: bytes) -> None:
    """Read the lock of a bundle."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        read_lock(Path(file.name))


def read_array(data: bytes) -> None:
    """Read an input's numbers."""
    for suffix in (".npy", ".safetensors"):
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            file.write(data)
            file.flush()
            with suppress(ComposerError):
                parse_inputs(TENSOR, [f"x={file.name}"])


def configs() -> tuple[bytes, ...]:
    """Return the configs of the miniatures, each after its number."""
    return tuple(
        bytes([number]) + b"\n" + (root / name).read_bytes()
        for number, (_, root, _, _, name) in enumerate(CONFIGS)
    )


def tokenizers() -> tuple[bytes, ...]:
    """Return a small tokenizer of each kind of model."""
    added = [{"id": 9, "content": "<|pad|>", "special": True, "lstrip": False}]
    vocab = {"a": 0, "b": 1, "ab": 2, "[UNK]": 3}
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": True,
    }
    split = {
        "type": "Split",
        "pattern": {"Regex": r"\s+|a{2,3}"},
        "behavior": "Isolated",
        "invert": False,
    }
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    pair = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}]}
    kinds = [
        {"type": "BPE", "vocab": vocab, "merges": [["a", "b"]], "byte_fallback": True},
        {
            "type": "WordPiece",
            "vocab": vocab,
            "unk_token": "[UNK]",
            "max_input_chars_per_word": 100,
        },
        {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
        {"type": "Unigram", "vocab": [["a", -1.0], ["b", -2.5]], "unk_id": 0},
    ]
    return tuple(
        json.dumps({
            "model": kind,
            "added_tokens": added,
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, replace]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
            "post_processor": pair,
            "decoder": level,
        }).encode()
        for kind in kinds
    )  # fmt: skip


def ggufs() -> tuple[bytes, ...]:
    """Return a file of two tensors of each of two types, and small decoders with tokenizers."""
    return _gguf("f32"), _gguf("q8_0"), decoder("llama"), decoder("qwen3")


def _gguf(kind: str) -> bytes:
    def fill(writer: GGUFWriter) -> None:
        writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
        writer.add_array("scores", [0.5, 1.0])
        type = GGMLQuantizationType[kind.upper()]
        writer.add_tensor("a.weight", quantize(np.ones((2, 32), np.float32), type), raw_dtype=type)
        writer.add_tensor("b", np.zeros(3, np.float32))

    return _written("llama", fill)


def decoder(architecture: str) -> bytes:
    """Return a decoder of one layer with its tokenizer."""
    tokenizer = {"llama": _byte_level, "qwen3": _pieces}[architecture]

    def fill(writer: GGUFWriter) -> None:
        writer.add_context_length(64)
        writer.add_embedding_length(32)
        writer.add_block_count(1)
        writer.add_feed_forward_length(32)
        writer.add_head_count(2)
        writer.add_head_count_kv(1)
        writer.add_key_length(16)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_rope_freq_base(1e4)
        writer.add_uint32("tokenizer.ggml.eos_token_id", 1)
        tokenizer(writer)
        shapes = {"token_embd": (4, 32), "output_norm": (32,)}
        shapes |= {f"blk.0.{name}": (32,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {
            f"blk.0.{name}": (32, 32)
            for name in ("attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
        }
        shapes |= {f"blk.0.{name}": (16, 32) for name in ("attn_k", "attn_v")}
        for name, shape in shapes.items():
            writer.add_tensor(f"{name}.weight", np.ones(shape, np.float32))
        writer.add_tensor("rope_freqs.weight", np.ones(8, np.float32))

    return _written(architecture, fill)


def _byte_level(writer: GGUFWriter) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(["a", "b", "ab", "<|end|>"])
    writer.add_token_types([1, 1, 1, 3])
    writer.add_token_merges(["a b"])


def _pieces(writer: GGUFWriter) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "a", "▁a", "<0x00>"])
    writer.add_token_scores([0.0, -1.0, -2.0, -3.0])
    writer.add_token_types([2, 1, 1, 6])


def _written(architecture: str, fill) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        writer = GGUFWriter(file, architecture)
        fill(writer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return file.read_bytes()


def locks() -> tuple[bytes, ...]:
    """Return the lock of a bundle of one component."""
    entry = {"size": 3, "sha256": "0" * 64}
    decoder = {"use": "onnx.lm", "dtype": "f32", "dims": {"D": 8}, "ports": {"embed": "f32 T 8"}}
    task = {"inputs": {"x": "text"}, "outputs": {"text": "text"}}
    edition = {"components": {"decoder": decoder}, "tasks": {"main": task}}
    source = {"repo": "ann/tiny", "commit": "1" * 40, "licence": {"main": "mit"}}
    content = {
        "lock": 1,
        "composer": "1.0",
        "format": 1,
        "bundle": "tiny",
        "manifest": entry,
        "licences": {"stated": ["MIT"], "parts": [{"what": "weights"}]},
        "sources": {"hf:ann/tiny": {**source, "files": {"config.json": entry}}},
        "edition": edition,
        "variants": {"small": edition},
    }
    return (json.dumps(content).encode(),)


def arrays() -> tuple[bytes, ...]:
    """Return arrays of several dtypes and orders."""
    found = []
    for array in (np.ones((2, 4), np.float32), np.asfortranarray(np.ones((2, 3), np.int64))):
        file = BytesIO()
        np.save(file, array)
        found.append(file.getvalue())
    return (*found, save({"x": np.ones((2, 4), np.float16)}, {"rate x": "16000"}))
