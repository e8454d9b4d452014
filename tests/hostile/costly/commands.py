"""What the commands beside check and run meet: serve, quantize, plan --budget and new --from."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests.fuzz.worst import objects
from tests.hostile.costly import upload
from tests.hostile.costly.case import Case, made
from tests.hostile.costly.files import MINI
from tests.hostile.costly.graphs import RUN
from tests.hostile.costly.media import COMPRESSED
from tests.hostile.costly.texts import unigram
from tests.hostile.making import ONNX, bundle
from tests.hostile.test_audio import READ, REFUSED
from tests.hostile.test_manifest import HOSTILE
from tests.hostile.test_onnx import HUGE, constant

CLIP = next((MINI / "clips").glob("*.flac"))
LM, ENCODER, TOKENS = "mlx/llm-mixed8_4", "onnx/audio_encoder_fp32.onnx", "tokenizer/tokenizer.json"


def speech(name: str, data) -> Case:
    """Copy the miniature, one file of it hostile; return the folder."""

    def write(folder: Path) -> Path:
        copy = folder / "mini"
        shutil.copytree(MINI, copy, ignore=shutil.ignore_patterns("clips"))
        text = (copy / "bundle.yaml").read_text()
        limited = "config: {time_limit: 5, rows: {"
        (copy / "bundle.yaml").write_text(text.replace("config: {rows: {", limited))
        (copy / name).write_bytes(made(data))
        return copy

    return write


def encoder(graph):
    """Return a hostile graph as the miniature's encoder."""
    graph = graph() if callable(graph) else graph
    inner = graph.graph
    for node in inner.node:
        for at, name in enumerate(node.input):
            node.input[at] = "input_features" if name == "x" else name
    last = inner.node[-1]
    assert last.op_type == "Add"
    number = next(name for name in last.input if name != "input_features")
    inner.initializer.append(constant(np.array([1, 25, 192]), "rows"))
    last.CopyFrom(helper.make_node("Expand", [number, "rows"], ["audio_embeds"]))
    kind = TensorProto.FLOAT
    shapes = {"input_features": [1, 80, "n_frames"], "audio_embeds": [1, "n_rows", 192]}
    values = [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]
    inner.input[0].CopyFrom(values[0])
    inner.output[0].CopyFrom(values[1])
    return graph


def config(**changes) -> bytes:
    """Return the config of the miniature's decoder with other values."""
    return json.dumps(json.loads((MINI / LM / "config.json").read_bytes()) | changes).encode()


def served(name, data) -> Case:
    """Start a server on the miniature with one hostile file, and give it a clip."""

    def write(folder):
        return [sys.executable, upload.__file__, speech(name, data)(folder), CLIP]

    return write


def uploaded(clips) -> Case:
    """Give a sound server hostile clips, one after another."""

    def write(folder):
        files = []
        for name, data in clips.items():
            files.append(folder / f"{name[:40].replace('/', ' ')}.wav")
            files[-1].write_bytes(data() if callable(data) else data)
        return [sys.executable, upload.__file__, MINI, *files]

    return write


def started(text) -> Case:
    """Start a server on a hostile manifest."""
    return lambda folder: ["serve", bundle(folder, text, {}), "--port", "0"]


def quantized(name, data, component="decoder", precision="int8") -> Case:
    """Quantize the miniature with one hostile file."""

    def write(folder):
        source = speech(name, data)(folder)
        return ["quantize", source, "-o", folder / "out", "--precision", f"{component}={precision}"]

    return write


def converted(data, precision) -> Case:
    """Quantize a graph of ONNX."""

    def write(folder):
        source = bundle(folder / "graph", ONNX, {"onnx/m.onnx": made(data)})
        return ["quantize", source, "-o", folder / "out", "--precision", f"encoder={precision}"]

    return write


def budgeted(name, data) -> Case:
    """Measure what fits a budget of the miniature with one hostile file."""

    def write(folder):
        source = speech(name, data)(folder)
        return ["plan", source, CLIP, "--budget", "1MB", "--try", "int8", "--try", "float16"]

    return write


def inferred(files) -> Case:
    """Write the default manifest of a hostile checkpoint into its folder."""

    def write(folder):
        checkpoint = folder / "checkpoint"
        shutil.copytree(MINI / LM, checkpoint)
        for name, data in files.items():
            (checkpoint / name).write_bytes(data() if callable(data) else data)
        return ["new", checkpoint, "--from", checkpoint]

    return write


GRAPHS = {name: RUN[name] for name in ("a GRU of 10^8 steps", "doubled forty times",
                                       "a product of 40 000", "a slow product in bounds",
                                       "constants folded at load")}  # fmt: skip
CONFIGS = {
    "10^9 layers": config(num_hidden_layers=10**9),
    "no heads": config(num_attention_heads=0),
    "a million ends": config(eos_token_id=[1] * 1_000_000),
}
SERVE = {
    **{f"{name} of a manifest": started(text) for name, (text, _) in [*HOSTILE.items()][:6]},
    **{name: served(ENCODER, lambda made=made: encoder(made)) for name, made in GRAPHS.items()},
    **{name: served(f"{LM}/config.json", data) for name, data in CONFIGS.items()},
    "objects in a header of weights": served(f"{LM}/model.safetensors", objects),
    "a Unigram of 4 000 prefixes": served(TOKENS, unigram(4_000)),
    "every clip that is refused": uploaded({name: data for name, (data, _) in REFUSED.items()}),
    "every odd clip that is read": uploaded(READ),
    **{name: uploaded({name: data}) for name, data in COMPRESSED.items()},
}
QUANTIZE = {
    **{f"{name}, {to}": converted(data, to) for name, data in {**HUGE, **RUN}.items()
       for to in ("int8", "int8-dynamic", "float16")},
    **{name: quantized(f"{LM}/config.json", data) for name, data in CONFIGS.items()},
    "objects in a header of weights": quantized(f"{LM}/model.safetensors", objects),
}  # fmt: skip
PLAN = {
    **{name: budgeted(ENCODER, lambda made=made: encoder(made)) for name, made in GRAPHS.items()},
    **{name: budgeted(f"{LM}/config.json", data) for name, data in CONFIGS.items()},
    "objects in a header of weights": budgeted(f"{LM}/model.safetensors", objects),
}
NEW = {
    **{name: inferred({"config.json": data}) for name, data in CONFIGS.items()},
    "a config of 5 MB": inferred({"config.json": b'{"a": "' + b"x" * 5_000_000 + b'"}'}),
    "a config of nested lists": inferred({"config.json": b"[" * 100_000}),
    "a config that is a pickle": inferred({"config.json": b"\x80\x04" + bytes(60)}),
    "objects in a header of weights": inferred({"model.safetensors": objects}),
}
