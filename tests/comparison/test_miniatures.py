"""Faults in the shipped miniatures' decoders, between backends and under a noise floor."""

import json
import shutil
import struct

import numpy as np
import pytest

from composer.comparison.report import table
from composer.jobs.compare import compare
from composer.jobs.record import add_noise_floor, record, with_precision
from composer.runtime.opening import BundleOptions
from composer.sources.shipped import shipped_folder

DTYPES = {"U32": np.uint32, "F32": np.float32}
MEGA, ELDER = (shipped_folder("bundles") / name for name in ("mega-asr-mini", "elderwise-mini"))
WEIGHTS = "mlx/llm-mixed8_4/model.safetensors"
DOWN = "model.layers.0.mlp.down_proj.weight"
LORA = "language_model.model.layers.0.self_attn.q_proj.lora_a"


def options(folder, **given):
    return BundleOptions(str(folder / "bundle.yaml"), **given)


def changed(bundle, folder, file, tensor, change):
    """Return a copy of a bundle with one tensor changed in place."""
    shutil.copytree(bundle, folder)
    raw = bytearray((folder / file).read_bytes())
    (length,) = struct.unpack("<Q", raw[:8])
    about = json.loads(raw[8 : 8 + length])[tensor]
    start, end = (8 + length + each for each in about["data_offsets"])
    array = np.frombuffer(bytes(raw[start:end]), DTYPES[about["dtype"]]).copy()
    array = array.reshape(about["shape"])
    change(array)
    raw[start:end] = array.tobytes()
    (folder / file).write_bytes(raw)
    return folder


def flip(words):
    words[17, 3] ^= np.uint32(0xFFFFFFFF)


@pytest.fixture(scope="module")
def reference():
    clip = MEGA / "clips" / "digits-01.flac"
    return record(options(MEGA, backends={"decoder": "onnx"}), {}, clips=[clip])


@pytest.mark.parametrize("floor", ["none", "float32 of MLX", "bfloat16 of MLX"])
def test_a_packed_word_is_found_between_backends(reference, tmp_path, floor):
    """In float32 on MLX against ONNX Runtime, whatever floor the reference has."""
    mlx = options(MEGA, variant="mlx")
    if floor.startswith("float32"):
        reference = add_noise_floor(reference, mlx, task=None, options=None)
    if floor.startswith("bfloat16"):
        reference = add_noise_floor(
            reference, with_precision(mlx, "bfloat16"), task=None, options=None
        )
    right = compare(reference, mlx)
    assert right.ok, table(right)
    wrong = changed(MEGA, tmp_path / "wrong", WEIGHTS, DOWN, flip)
    found = compare(reference, options(wrong, variant="mlx"))
    assert found.first.name == "answer_steps", table(found)


def test_a_faint_row_of_an_adapter_is_found_on_the_floors_own_way(tmp_path):
    """One row of one of 76 matrices, in bfloat16 against float32: like is compared with like."""
    clip = next((ELDER / "clips").glob("*.flac"))
    low = {"precision": {"decoder": "bfloat16"}}
    reference = record(options(ELDER), {}, clips=[clip], task="transcribe")
    reference = add_noise_floor(reference, options(ELDER, **low), task="transcribe", options=None)
    right = compare(reference, options(ELDER, **low), any_float=True)
    assert right.ok, table(right)

    def zero(matrix):
        matrix[:, 2] = 0

    wrong = changed(ELDER, tmp_path / "wrong", "lora/adapters.safetensors", LORA, zero)
    found = compare(reference, options(wrong, **low), any_float=True)
    assert found.first.name == "answer_steps", table(found)
