"""Manifests, weights, configs and arrays at the edge of the limits and beyond."""

import json
import shutil

import numpy as np

from composer.sources.shipped import shipped_folder
from tests.formats.onnx_models import model
from tests.formats.test_safetensors import HOSTILE as TENSORS
from tests.fuzz.worst import INPUTS
from tests.hostile.costly.case import graph_check, manifest, weights
from tests.hostile.making import ONNX, bundle
from tests.hostile.test_manifest import HOSTILE, JSON

MINI = shipped_folder("bundles") / "mega-asr-mini"
AS = {"onnx": graph_check, "safetensors": weights, "manifest": lambda make: manifest(make())}


def config(**changes):
    """Check the miniature whose decoder's config was changed."""

    def write(folder):
        copy = folder / "mini"
        shutil.copytree(MINI, copy, ignore=shutil.ignore_patterns("clips"))
        path = copy / "mlx/llm-mixed8_4/config.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))
        return ["check", copy]

    return write


def variants(count):
    """Check a bundle of variants over one file."""
    names = "".join(f"  v{n}: {{summary: v{n}}}\n" for n in range(count))

    def write(folder):
        data = model().SerializeToString()
        return ["check", bundle(folder, f"{ONNX}variants:\n{names}", {"onnx/m.onnx": data})]

    return write


def array(head, suffix="npy"):
    """Run a graph on an array that claims more than it has."""

    def write(folder):
        bundle(folder, ONNX, {"onnx/m.onnx": model().SerializeToString()})
        path = folder / f"x.{suffix}"
        if callable(head):
            head(path)
        else:
            text = head.encode().ljust(117) + b"\n"
            path.write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + text + bytes(64))
        return ["run", folder, "-i", f"x={path}"]

    return write


def zeros(path):
    """Write a hole of 40 GB as an array."""
    with path.open("wb") as file:
        shape = "{'descr': '<f4', 'fortran_order': False, 'shape': (2500000000, 4), }"
        file.write(b"\x93NUMPY\x01\x00\x76\x00" + shape.encode().ljust(117) + b"\n")
        file.truncate(128 + 4 * 10**10)


SHAPE = "{{'descr': '{}', 'fortran_order': False, 'shape': ({}, 4), }}".format
MANIFESTS = {
    **{name: manifest(text) for name, (text, _) in HOSTILE.items()},
    **{f"{name} in JSON": manifest(text, "bundle.json") for name, (text, _) in JSON.items()},
    **{f"{name} at the limit": AS[kind](make) for name, (kind, make) in INPUTS.items()
       if kind == "manifest"},
    "100 variants": variants(100),
    "1 200 variants": variants(1200),
}  # fmt: skip
WEIGHTS = {
    **{name: weights(data) for name, (data, _) in TENSORS.items()},
    **{f"{name} at the limit": AS[kind](make) for name, (kind, make) in INPUTS.items()
       if kind != "manifest"},
}  # fmt: skip
CONFIGS = {
    "no heads": config(num_attention_heads=0),
    "10^9 heads": config(num_attention_heads=10**9),
    "10^9 layers": config(num_hidden_layers=10**9),
    "a vocabulary of 10^12": config(vocab_size=10**12),
    "a negative width": config(intermediate_size=-5),
    "a text for a number": config(hidden_size="8"),
    "an end outside the vocabulary": config(eos_token_id=10**6),
    "a million ends": config(eos_token_id=[1] * 1_000_000),
}
ARRAYS = {
    "terabytes by a header": array(SHAPE("<f4", 10**12)),
    "more numbers than 2^63": array(SHAPE("<f4", 2**62)),
    "Python objects": array(SHAPE("|O", 2)),
    "a hole of 40 GB": array(zeros),
    "a zip for an array": array(
        lambda path: np.savez_compressed(path, x=np.zeros((50_000_000, 4), np.float32)), "npz"
    ),
}
