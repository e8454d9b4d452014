"""What becomes of a checkpoint's tensors, one by one."""

import json

import mlx.core as mx
import numpy as np
from safetensors.numpy import load_file, save_file

from composer.components.mlx.packer import pack_rows
from composer.core.location import Location
from composer.formats import Headers
from composer.formats.packing import ModuleToPack, Packing
from composer.formats.quantization import Scheme
from composer.quantization import checkpoint
from composer.quantization.checkpoint import plan_rewrite, write_checkpoint

FOUR = Scheme(4, 32, "affine")


def test_experts_that_are_stored_joined_are_packed_by_themselves(tmp_path, monkeypatch):
    """transformers stores the gates and the ups of all experts as one tensor, mlx-lm as two."""
    joined = np.random.default_rng(0).normal(size=(3, 8, 64)).astype(np.float32)
    save_file({"e.gate_up_proj": joined, "norm": joined[0, 0]}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "x"}')
    place = Location("repo", "", tmp_path)
    modules = tuple(
        ModuleToPack(f"e.{name}_proj", f"lm.e.{name}_proj", "e.gate_up_proj", FOUR, half)
        for half, name in enumerate(("gate", "up"))
    )
    packing = Packing(place, place / "config.json", modules, pack_rows, ())
    monkeypatch.setattr(checkpoint, "PIECE", 600)  # two rows and a bit
    written = []
    planned = plan_rewrite([packing], Headers())
    write_checkpoint(planned, tmp_path / "new", lambda: written.append(1))
    assert len(written) == 3
    found = load_file(tmp_path / "new" / "model.safetensors")
    for name, half in (("gate", joined[:, :4]), ("up", joined[:, 4:])):
        parts = mx.quantize(mx.array(half), group_size=32, bits=4)
        for part, wanted in zip(("weight", "scales", "biases"), parts, strict=True):
            assert (found[f"e.{name}_proj.{part}"] == np.array(wanted)).all()
    assert (found["norm"] == joined[0, 0]).all()
    assert json.loads((tmp_path / "new" / "config.json").read_text()) == {
        "model_type": "x",
        "quantization": {"group_size": 32, "bits": 4, "mode": "affine"},
    }


def test_what_nothing_reads_is_left_out_and_a_named_file_stays_one(tmp_path):
    rows = np.ones((4, 64), np.float16)
    save_file({"a.weight": rows, "lm_head.weight": rows}, tmp_path / "lm.safetensors")
    (tmp_path / "config.json").write_text("{}")
    place = Location("repo", "", tmp_path)
    modules = (ModuleToPack("a", "a", "a.weight", Scheme(8, 64, "affine")),)
    packing = Packing(
        place / "lm.safetensors", place / "config.json", modules, pack_rows, (),
        frozenset({"lm_head.weight"}),
    )  # fmt: skip
    planned = plan_rewrite([packing], Headers(), shard=1)
    assert list(planned.files) == ["lm.safetensors"]
    (entry,) = planned.files["lm.safetensors"]
    assert [(each.name, each.dtype, each.shape) for each in entry.made] == [
        ("a.weight", "u32", (4, 16)),
        ("a.scales", "f16", (4, 1)),
        ("a.biases", "f16", (4, 1)),
    ]
