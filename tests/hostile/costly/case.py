"""A hostile case: what writes a bundle into a folder and returns the command that meets it."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tests.hostile.making import ONNX, PROMPT, STACK, bundle

TIME_LIMIT = 5  # seconds that the graphs of these cases give themselves
Case = Callable[[Path], Iterable[object]]


def checked(text, name, data) -> Case:
    """Check a bundle whose one file is hostile."""
    return lambda folder: ["check", bundle(folder, text, {name: made(data)})]


def made(data):
    """Return bytes, or those of a model or of what makes one."""
    found = data() if callable(data) else data
    return found if isinstance(found, bytes) else found.SerializeToString()


def weights(data) -> Case:
    """Check a projector with these weights."""
    name = "w/model.safetensors"
    return checked(STACK.replace("WEIGHTS", name), name, data)


def manifest(text, name="bundle.yaml") -> Case:
    """Check a manifest."""
    return checked("", name, text if isinstance(text, bytes) else text.encode())


def graph_check(data) -> Case:
    """Check a graph of ONNX."""
    return checked(ONNX, "onnx/m.onnx", data)


def graph_run(data) -> Case:
    """Run a graph of ONNX under its time limit."""
    text = ONNX.replace("batch: none", f"batch: none, time_limit: {TIME_LIMIT}")

    def write(folder):
        bundle(folder, text, {"onnx/m.onnx": made(data)})
        np.save(folder / "x.npy", np.ones((2, 4), np.float32))
        return ["run", folder, "-i", f"x={folder / 'x.npy'}"]

    return write


def prompt_check(data, text=PROMPT) -> Case:
    """Check a prompt with this tokenizer."""
    return checked(text, "tokenizer/tokenizer.json", data)


def prompt_run(data, given="ab", text=PROMPT) -> Case:
    """Run a prompt with this tokenizer and a text."""

    def write(folder):
        bundle(folder, text, {"tokenizer/tokenizer.json": made(data)})
        return ["run", folder, "-i", f"text={given}"]

    return write


def input_run(text, kind, name, data) -> Case:
    """Run a bundle on a hostile clip or picture."""

    def write(folder):
        bundle(folder, text, {})
        (folder / name).write_bytes(data() if callable(data) else data)
        return ["run", folder, "-i", f"{kind}={folder / name}"]

    return write
