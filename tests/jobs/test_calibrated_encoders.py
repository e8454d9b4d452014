"""Encoders and projectors whose packing is calibrated on what their Linears see."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import composer
from composer.core.errors import ComposerError
from composer.core.quantization_recipe import QuantizationRecipe
from composer.formats.quantization import Scheme
from composer.jobs.calibration import Calibration
from composer.quantization import awq
from composer.sources.shipped import shipped_folder
from tests.models.backends import BACKENDS
from tests.models.meralion import reference as meralion
from tests.models.test_watched_encoders import seen_by_torch
from tests.quantization.test_gptq import reference

pytestmark = pytest.mark.usefixtures("one_thread")
CLIPS = tuple(sorted((shipped_folder("bundles") / "elderwise-mini/clips").glob("*.flac"))[:2])
JOIN = 4  # rows, of 24 numbers each
LAYERS = f"[{{stack_frames: {{by: {JOIN}, remainder: pad}}}}, layer_norm, linear, silu, linear]"
MANIFEST = f"""\
composer: 1
name: parts
sources: {{repo: ./repo}}
components:
  features: {{use: audio.log_mel, config: {{mels: 80, pad: {{multiple_of: 300}}}}}}
  speech: {{use: BACKEND.meralion, weights: repo/speech}}
  projector: {{use: BACKEND.stack, weights: repo/projector, config: {{layers: {LAYERS}}}}}
inputs: {{audio: audio}}
graph:
  mel: {{run: features, with: {{audio: $audio}}}}
  encoded: {{run: speech, with: {{mel: $mel}}}}
  rows: {{run: projector, with: {{x: $encoded}}}}
outputs: {{rows: $rows}}
"""
THREE = QuantizationRecipe(3, 32, name="three")
EIGHT = QuantizationRecipe(8, 32, name="eight")
BOTH = ("speech", "projector")


class Projector(torch.nn.Module):
    """The stack in torch, every number random; its layers have the numbers of ours."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        torch.manual_seed(4)
        width = JOIN * meralion.OUT
        parts = [
            nn.Identity(),
            nn.LayerNorm(width),
            nn.Linear(width, 64),
            nn.SiLU(),
            nn.Linear(64, 40),
        ]
        self.layers = nn.ModuleList(parts)
        for value in self.parameters():
            value.data = value.data + torch.randn(value.shape) * 0.3

    def forward(self, x):
        x = torch.nn.functional.pad(x, (0, 0, 0, -len(x) % JOIN)).reshape(-1, JOIN * x.shape[1])
        for layer in self.layers:
            x = layer(x)
        return x


class Parts(torch.nn.Module):
    """The encoder and the projector."""

    def __init__(self):
        super().__init__()
        self.speech, self.projector = meralion.Reference(), Projector()
        for name, value in self.speech.named_parameters():
            if "layer_norm.weight" in name:
                value.data[::5] *= 6  # columns that matter more

    def write(self, folder, dtype=np.float32):
        """Write them as a bundle of each backend, the numbers in a dtype."""
        meralion.ported(folder / "repo" / "speech", self.speech)
        state = {k.removeprefix("layers."): v for k, v in self.projector.state_dict().items()}
        (folder / "repo" / "projector").mkdir()
        file = folder / "repo" / "projector" / "model.safetensors"
        save_file({name: value.numpy() for name, value in state.items()}, file)
        for path in folder.rglob("*.safetensors"):
            stored = {name: value.astype(dtype) for name, value in load_file(path).items()}
            save_file(stored, path)
        for backend in BACKENDS:
            (folder / f"{backend}.yaml").write_text(MANIFEST.replace("BACKEND", backend))
        return folder


@pytest.fixture(scope="module")
def parts():
    return Parts()


@pytest.fixture(scope="module")
def bundle(parts, tmp_path_factory):
    return parts.write(tmp_path_factory.mktemp("parts"))


def quantized(bundle, folder, backend="onnx", recipe=THREE, **calibration):
    chosen = Calibration(**calibration) if calibration else None
    asked = dict.fromkeys(BOTH, recipe)
    composer.quantize(bundle / f"{backend}.yaml", folder, precision=asked, calibration=chosen)
    return folder


def tensors(folder):
    """Return every tensor of a bundle by its component's folder and its name."""
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        found |= {f"{path.parent.name}/{name}": v for name, v in load_file(path).items()}
    return found


def rows(path):
    with composer.load(path) as loaded:
        return np.concatenate([loaded.run(audio=str(c)).outputs["rows"] for c in CLIPS])


def mels(bundle):
    with composer.load(bundle / "numpy.yaml") as loaded:
        return [loaded.run(audio=str(clip), taps=["mel"]).taps["mel"] for clip in CLIPS]


@pytest.fixture(scope="module")
def seen(parts, bundle):
    """Return X^T X in float64 of what torch's Linears see, by component and path."""
    found = {}

    def own(name):
        name = name.replace("speech_encoder.", "").replace("speech_audio_adapter.", "")
        return name.replace(".layers.", "/", 1) if name.startswith("projector") else name

    for mel in mels(bundle):
        encoded = []
        for start in range(0, mel.shape[1], 2 * meralion.WINDOW):
            window = np.ascontiguousarray(mel[:, start : start + 2 * meralion.WINDOW])

            def encode(window=window, encoded=encoded):
                encoded.append(parts.speech.stages(window)["rows"])

            add(found, "speech/", seen_by_torch(parts.speech, encode, own))
        whole = torch.from_numpy(np.concatenate(encoded))
        run = lambda whole=whole: parts.projector(whole)  # noqa: E731
        add(
            found,
            "projector/",
            seen_by_torch(parts.projector, run, lambda n: n.split(".")[1]),
        )
    return found


def add(found, where, rows):
    for path, each in rows.items():
        wide = each.astype(np.float64)
        found[where + path] = found.get(where + path, 0.0) + wide.T @ wide


def stored_name(path):
    return path.replace("mlp_adapter.0", "mlp_adapter.layers.0")


@pytest.mark.parametrize("backend", BACKENDS)
def test_codes_are_those_of_gptq_on_what_torch_sees(bundle, seen, tmp_path, backend):
    made = quantized(bundle, tmp_path / "new", backend, sources=CLIPS)
    found, plain = tensors(made), tensors(bundle)
    nearest = tensors(quantized(bundle, tmp_path / "nearest", backend))
    assert found.keys() == nearest.keys()
    count = 0
    for path, hessian in seen.items():
        name = stored_name(path)
        if f"{name}.scales" not in found:
            continue  # whose columns groups of 32 do not divide
        matrix, scheme = plain[f"{name}.weight"], Scheme(3, 32, "affine")
        codes, scales, _ = reference(matrix, hessian, scheme, "f32")
        own = unpacked(found[f"{name}.weight"], codes.shape)
        assert (own == codes).mean() > 0.97, path
        same = (own == codes).all(axis=1)
        np.testing.assert_allclose(found[f"{name}.scales"][same], scales[same], rtol=1e-3)
        assert (unpacked(nearest[f"{name}.weight"], codes.shape) == codes).mean() < 0.9
        count += 1
    assert count == 3 * 5 + 1 + 2  # layers, the adaptor, the projector


def unpacked(words, shape):
    """Return codes of 3 bits one by one."""
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")
    return (bits.reshape(*shape, 3) * (1, 2, 4)).sum(-1)


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_what_is_calibrated_is_nearer_and_says_so(bundle, tmp_path, method):
    made = quantized(bundle, tmp_path / "new", sources=CLIPS, method=method)
    want = rows(bundle / "onnx.yaml")
    rounded = rows(quantized(bundle, tmp_path / "nearest") / "bundle.yaml")
    found = rows(made / "bundle.yaml")
    assert np.square(found - want).sum() < 0.7 * np.square(rounded - want).sum()
    notes = json.loads((made / "quantization.json").read_text())["calibration"]
    assert (notes["method"], notes["modules"].keys()) == (method, {*BOTH})
    assert notes["modules"]["projector"] == ["2", "4"]
    how = [each.how for each in composer.check(made).bundle.manifest.provenance]
    assert how == [f"quantized: three, by {method} on 2 files"] * 2
    assert composer.verify(made).problems == ()


def test_awq_moves_scales_with_the_biases(parts, tmp_path, monkeypatch):
    """With 8 bits the numbers stay, though norms, values and their biases are others."""
    folder = parts.write(tmp_path / "it", np.float16)
    want = rows(folder / "onnx.yaml")
    most = 0.02 * abs(want).max()
    made = quantized(folder, tmp_path / "new", recipe=EIGHT, sources=CLIPS, method="awq")
    assert abs(rows(made / "bundle.yaml") - want).max() < most
    origins = json.loads((made / "quantization.json").read_text())["tensors"]
    scaled = {name for each in origins.values() for name, o in each.items() if o.get("scaled")}
    for name in (
        "self_attn_layer_norm.weight",
        "self_attn_layer_norm.bias",
        "self_attn.v_proj.bias",
    ):
        assert f"layers.0.{name}" in scaled
    assert "1.bias" in scaled
    monkeypatch.setattr(awq, "_bias_of", lambda *given: None)
    wrong = quantized(folder, tmp_path / "wrong", recipe=EIGHT, sources=CLIPS, method="awq")
    assert abs(rows(wrong / "bundle.yaml") - want).max() > 3 * most


def test_a_scale_does_not_move_into_a_matrix_that_stays(bundle, tmp_path):
    kept = QuantizationRecipe(8, 32, {}, ("*v_proj",), name="kept")
    made = quantized(bundle, tmp_path / "new", recipe=kept, sources=CLIPS, method="awq")
    found, plain = tensors(made), tensors(bundle)
    for part in ("weight", "bias"):
        name = f"speech/layers.0.self_attn.v_proj.{part}"
        assert (found[name] == plain[name]).all()
    want = rows(bundle / "onnx.yaml")
    assert abs(rows(made / "bundle.yaml") - want).max() < 0.02 * abs(want).max()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("gptq", "R597 nothing that is given to calibrate on runs through speech"),
        ("dwq", "R597 no component with a recipe can be watched"),
    ],
)
def test_text_teaches_an_encoder_nothing(bundle, tmp_path, method, message):
    text = tmp_path / "text.txt"
    text.write_text("anything")
    with pytest.raises(ComposerError, match=message):
        quantized(bundle, tmp_path / "new", sources=[text], method=method)
    assert not (tmp_path / "new").exists()
