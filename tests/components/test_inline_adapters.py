"""Adapters inside the checkpoint that they adapt: the numbers of files of their own, or refused."""

import json

import mlx.core as mx
import numpy as np
import pytest

from composer.components.mlx.lm import MlxLanguageModel
from composer.components.onnx.lm import OnnxLanguageModel
from composer.core.component import Adapter, Spec
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.adapter_files import (
    RANK,
    as_peft,
    at,
    matrices,
    peft_config,
    write_adapter,
    write_model,
)

IDS = np.random.default_rng(0).integers(1, 95, 9)
PLACES = {"mlx": Placement(device="cpu"), "onnx": Placement(threads=1)}
KINDS = {"mlx": MlxLanguageModel, "onnx": OnnxLanguageModel}
LORA = {"r": RANK, "lora_alpha": 8, "layer": "(q|k)_proj", "dp": 0.01, "use_rslora": False}


def write_whole(folder, weights, config, peft_model=""):
    """Write a decoder inside a larger checkpoint, its adapted modules wrapped by PEFT.

    Beside `speech` there is an adapter that nothing asks for. `peft_model` is what PEFT puts
    between where it wrapped the model as a whole.
    """
    state, adapter = mx.load(str(folder.parent / "lm/model.safetensors")), {}
    for name, value in weights.items():
        module, side, _ = name.rsplit(".", 2)
        adapter[f"{module}.{side}.speech.weight"] = mx.array(value)
        adapter[f"{module}.{side}.vision.weight"] = mx.array(value * 0 + 1)
        if f"{module}.weight" in state:
            state[f"{module}.base_layer.weight"] = state.pop(f"{module}.weight")
    found = {"vision_tower.patch.weight": mx.zeros((2, 2))}
    for name, value in (state | adapter).items():
        found[f"language_model.model.{peft_model}{name.removeprefix('model.')}"] = value
    folder.mkdir()
    mx.save_safetensors(str(folder / "model.safetensors"), found)
    own = json.loads((folder.parent / "lm/config.json").read_text())
    whole = {"model_type": "gemma3", "vision_config": {}, "text_config": own} | config
    (folder / "config.json").write_text(json.dumps(whole))
    (folder / "tokenizer.json").write_bytes((folder.parent / "lm/tokenizer.json").read_bytes())
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("inline")
    write_model(home / "lm")
    weights = as_peft(matrices(), "")
    write_adapter(home / "peft", weights, peft_config(), "adapter_model")
    write_whole(home / "whole", weights, {"speech_lora": LORA})
    write_whole(home / "wrapped", weights, {"speech_lora": LORA}, "base_model.model.")
    write_whole(home / "silent", weights, {"speech_lora": {"r": RANK}})
    return home


def spec(home, kind, folder, prefix="", adapter=None, name="speech", scale=None):
    config = KINDS[kind].Config(prefix=prefix)
    adapters = {name: Adapter(at(home / (adapter or folder)), scale)}
    return Spec("decoder", config, at(home / folder), adapters=adapters)


def facts(*args, **more):
    asked = spec(*args, **more)
    return KINDS[args[1]].facts(asked, Headers())


def logits(*args, on=("speech",), **more):
    asked, kind = spec(*args, **more), KINDS[args[1]]
    lm = kind.load(asked, kind.facts(asked, Headers()), PLACES[args[1]])
    ids = mx.array(IDS) if args[1] == "mlx" else IDS
    return [np.array(lm.logits(lm.embed(ids), adapters=names)) for names in (on, ())]


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_what_an_adapter_of_its_own_file_does(home, kind):
    """On and off both have the very bits; nearly right are another scale and another adapter."""
    want, base = logits(home, kind, "lm", adapter="peft")
    for folder, prefix in (
        ("whole", "language_model"),
        ("wrapped", "language_model.model.base_model.model"),
    ):
        found, off = logits(home, kind, folder, prefix)
        assert np.array_equal(found, want), folder
        assert np.array_equal(off, base), folder
    assert np.abs(want - base).max() > 0.1
    scaled, off = logits(home, kind, "silent", "language_model", scale=2.0)
    assert np.array_equal(scaled, want)
    other, _ = logits(home, kind, "silent", "language_model", scale=1.0)
    assert np.abs(other - want).max() > 0.01
    strange, _ = logits(
        home, kind, "whole", "language_model", name="vision", on=("vision",), scale=2.0
    )
    assert np.abs(strange - want).max() > 0.1


def test_what_it_reads_and_what_it_leaves_is_reported(home):
    found = facts(home, "onnx", "whole", "language_model")
    (note,) = found.notes
    assert note.code == "L325"
    assert "the adapter speech, the adapter vision, vision_tower" in note.message
    files = {str(stamp.location) for stamp in found.stamps}
    assert {"repo/whole/model.safetensors", "repo/whole/config.json"} <= files


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (
            {"folder": "silent"},
            "repo/silent: W294 its config says no scale\n"
            "    hint: say the one that counts in the manifest: scale: 20.0",
        ),
        (
            {"folder": "whole", "scale": 1.0},
            "the manifest says scale 1, which counts; the adapter says 2",
        ),
        (
            {"folder": "whole", "name": "sound"},
            "repo/whole: W285 it holds neither adapters.safetensors nor adapter_model.safetensors, "
            "and no tensor ends in lora_A.sound.weight\n"
            "    hint: adapters inside it: speech, vision",
        ),
    ],
    ids=["without alpha", "with another scale", "of another name"],
)
def test_what_does_not_fit_is_refused_or_reported(home, more, text):
    folder = more.pop("folder")
    try:
        found = facts(home, "onnx", folder, "language_model", **more)
        shown = "\n".join(note.message for note in found.notes)
    except ComposerError as error:
        shown = str(error)
    assert text in shown


@pytest.mark.parametrize(
    ("lora", "text"),
    [
        ("all", "W287 speech_lora should be an object with r and lora_alpha"),
        (LORA | {"lora_alpha": "640"}, "W287 lora_alpha is '640'; expected a number"),
        (LORA | {"use_dora": True}, "W286 use_dora is 'True'"),
        (LORA | {"r": 8}, "W289 the rank is 4, but repo/odd/config.json says 8"),
    ],
)
def test_a_config_that_contradicts(home, tmp_path, lora, text):
    write_model(tmp_path / "lm")
    write_whole(tmp_path / "odd", as_peft(matrices(), ""), {"speech_lora": lora})
    with pytest.raises(ComposerError) as caught:
        facts(tmp_path, "onnx", "odd", "language_model")
    assert text in str(caught.value)
