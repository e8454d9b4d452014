"""Experts whose packing is calibrated on the rows that are routed to each."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import composer
from composer.components.mlx.calibration import CalibratedDecoder
from composer.core.calibration import Answer, expert_path
from composer.core.quantization_recipe import QuantizationRecipe
from composer.formats.quantization import Scheme
from composer.jobs.calibration import Calibration
from tests.components import gemma4_models
from tests.jobs.tiny import TINY
from tests.quantization.test_gptq import reference

pytestmark = pytest.mark.usefixtures("one_thread")
IDS = np.random.default_rng(3).integers(3, 90, 90)
FOUR = QuantizationRecipe(4, 32, keep=("*.self_attn.*", "*.mlp.*"))
LAYER = 2
AT = f"layers.{LAYER}.experts."


@pytest.fixture(scope="module")
def theirs():
    return gemma4_models.torch_model("26b")


@pytest.fixture(scope="module")
def bundle(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("experts")
    gemma4_models.save(theirs, folder / "repo" / "lm", "26b")
    (folder / "bundle.yaml").write_text(TINY.replace("mlx.lm", "mlx.gemma4"))
    (folder / "text.txt").write_text("anything")
    return folder


@pytest.fixture(scope="module")
def seen(theirs):
    """Return the rows that go into each expert of a layer, by the last part of its matrix."""
    experts, found = theirs.model.layers[LAYER].experts, {}

    def see(_, inputs):
        rows, numbers, _ = inputs
        for number in range(len(experts.down_proj)):
            own = rows[(numbers == number).any(-1)].detach()
            gate, up = (own @ experts.gate_up_proj[number].T).chunk(2, -1)
            inner = torch.nn.functional.gelu(gate, approximate="tanh") * up
            found[number] = {"gate_proj": own, "up_proj": own, "down_proj": inner}

    hook = experts.register_forward_pre_hook(see)
    with torch.no_grad():
        theirs(torch.from_numpy(IDS)[None])
    hook.remove()
    return found


def test_an_expert_sees_the_rows_that_are_routed_to_it(bundle, seen):
    lm = gemma4_models.load(bundle / "repo" / "lm")
    counts = set()
    for length in (len(IDS), 5):  # mlx-lm sorts many rows by their experts
        rows = {expert_path(f"{AT}switch_glu.{part}", n): [] for n in seen for part in seen[n]}
        widths = lm.input_widths()
        with lm.watch({path: each.append for path, each in rows.items()}):
            lm.read(Answer(IDS[:length]))
        for number, wanted in seen.items():
            for part, all_rows in wanted.items():
                path = expert_path(f"{AT}switch_glu.{part}", number)
                assert widths[path] == all_rows.shape[1]
                own = np.concatenate(rows[path] or [np.zeros((0, widths[path]))])
                if length == len(IDS):
                    np.testing.assert_allclose(own, all_rows.numpy(), atol=2e-3)
                counts.add(len(own))
    assert len(counts) > 3


@pytest.fixture
def made(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(CalibratedDecoder, "texts", lambda self, text: [Answer(IDS)])
    asked, folders = {"decoder": FOUR}, {}
    text = Calibration((bundle / "text.txt",))
    for name, calibration in (("nearest", None), ("gptq", text)):
        composer.quantize(bundle, tmp_path / name, precision=asked, calibration=calibration)
        folders[name] = tmp_path / name
    return folders


def test_codes_are_those_of_gptq_for_each_expert(bundle, seen, made, theirs):
    files = {n: load_file(f / "repo/lm/model.safetensors") for n, f in made.items()}
    name = next(each for each in files["gptq"] if f"{AT}switch_glu.down_proj.weight" in each)
    own, nearest = (unpacked(files[each][name]) for each in ("gptq", "nearest"))
    matrices = theirs.model.layers[LAYER].experts.down_proj.detach().numpy()
    unused, far = 0, 0
    for number, rows in seen.items():
        x = rows["down_proj"].numpy()
        if len(x) == 0:
            assert (own[number] == nearest[number]).all()
            unused += 1
            continue
        codes, *_ = reference(matrices[number], x.T @ x, Scheme(4, 32, "affine"), "f32")
        assert (own[number] == codes).mean() > 0.97, number
        far += (own[number] != nearest[number]).any()
    assert far > 1
    notes = json.loads((made["gptq"] / "quantization.json").read_text())["calibration"]
    assert len(notes["modules"]["decoder"]) == 3 * len(theirs.model.layers)


def unpacked(words):
    """Return codes of 4 bits [E, N, K] one by one."""
    pairs = np.ascontiguousarray(words).view(np.uint8)
    return np.stack([pairs & 15, pairs >> 4], -1).reshape(*pairs.shape[:-1], -1)


def test_the_logits_are_nearer_and_mlx_lm_reads_them(bundle, made):
    from mlx_lm.utils import load_model

    logits = {}
    for name, folder in {"": bundle, **made}.items():
        with composer.load(folder / "bundle.yaml") as loaded:
            logits[name] = loaded.run(ids=IDS).outputs["logits"]
    errors = {name: np.square(logits[name] - logits[""]).sum() for name in made}
    assert errors["gptq"] < 0.8 * errors["nearest"]
    theirs, _ = load_model(Path(made["gptq"]) / "repo" / "lm")
    found = np.array(theirs(mx.array(IDS)[None])[0].astype(mx.float32))
    np.testing.assert_allclose(found, logits["gptq"], atol=1e-3 * abs(found).max())
