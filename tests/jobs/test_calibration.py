"""Bundles whose packing is calibrated on what their modules see."""

import json
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten

import composer
from composer.comparison.answers import read_answers
from composer.comparison.divergence import answers, divergence
from composer.components.mlx.calibration import CalibratedDecoder
from composer.core.calibration import Answer
from composer.core.errors import ComposerError
from composer.core.quantization_recipe import QuantizationRecipe, QuantizationRule
from composer.jobs.calibration import METHODS, Calibration
from composer.quantization.samples import Samples
from composer.runtime.opening import BundleOptions
from composer.sources.shipped import shipped_folder
from tests.components.mlx_lm.models import IDS, ROWS, save, torch_model
from tests.jobs.tiny import TINY

pytestmark = pytest.mark.usefixtures("one_thread")
MINI = shipped_folder("bundles") / "elderwise-mini"
CLIPS = tuple(sorted((MINI / "clips").glob("*.flac"))[:2])
OTHERS = sorted((MINI / "clips").glob("*.flac"))[3:5]
DECODER = Path("repo/decoder")
THREE = {"decoder": QuantizationRecipe(3, 32, name="three")}


def quantized(folder, **calibration):
    chosen = Calibration(**calibration) if calibration else None
    composer.quantize(MINI, folder, precision=THREE, calibration=chosen)
    return folder


def far(folder, clips):
    """Return the divergence of a bundle's answers from those of the one that was quantized."""
    runs = [{"audio": str(clip)} for clip in clips]
    with BundleOptions(MINI).open() as plain:
        reference = answers(plain, "transcribe", runs)
    with BundleOptions(folder).open() as bundle:
        return divergence(bundle, "transcribe", runs, reference)


@pytest.fixture(scope="module")
def gptq(tmp_path_factory):
    return quantized(tmp_path_factory.mktemp("gptq") / "new", sources=CLIPS)


@pytest.mark.slow
def test_on_its_clips_it_is_nearer_than_rounding_and_than_text(gptq, tmp_path):
    """What it is on others, a table says: docs/precision.md."""
    text = tmp_path / "text.txt"
    lines = (MINI / "clips" / "references.jsonl").read_text().splitlines()
    text.write_text("\n".join(json.loads(line)["text"] for line in lines))
    rounded = far(quantized(tmp_path / "nearest"), CLIPS)
    on_text = far(quantized(tmp_path / "text", sources=(text,)), CLIPS)
    assert far(gptq, CLIPS) < 0.8 * min(rounded, on_text)


def test_it_is_of_the_same_size_and_read_by_mlx_lm(gptq, tmp_path):
    from mlx_lm.utils import load_model

    plain = quantized(tmp_path / "nearest")
    sizes = [(each / DECODER / "model.safetensors").stat().st_size for each in (gptq, plain)]
    assert sizes[0] == sizes[1]
    configs = [json.loads((each / DECODER / "config.json").read_text()) for each in (gptq, plain)]
    assert configs[0] == configs[1]
    theirs, _ = load_model(gptq / DECODER)
    ids = np.arange(3, 20)
    with BundleOptions(
        gptq, backends={"decoder": "mlx"}, precision={"decoder": "bfloat16"}
    ).open() as bundle:
        lm = bundle.component("decoder")
        made = bundle.call("decoder", lambda: _logits(lm, mx.array(ids)))
    wanted = np.array(theirs(mx.array(ids)[None])[0].astype(mx.float32))
    assert abs(made - wanted).max() < 0.02 * abs(wanted).max()  # bfloat16, as in test_quantize


def _logits(lm, ids):
    return np.array(lm.logits(lm.embed(ids), lm.per_layer(ids)))


@pytest.mark.slow
def test_every_file_of_it_is_the_same_again(gptq, tmp_path):
    again = quantized(tmp_path / "new", sources=CLIPS)
    for path in (gptq / DECODER).iterdir():
        assert path.read_bytes() == (again / DECODER / path.name).read_bytes()


def test_it_says_what_it_was_calibrated_on(gptq):
    notes = json.loads((gptq / "quantization.json").read_text())["calibration"]
    assert (notes["method"], notes["seed"]) == ("gptq", 0)
    assert [each["file"] for each in notes["samples"]] == [clip.name for clip in CLIPS]
    assert all(len(each["sha256"]) == 64 for each in notes["samples"])
    assert len(notes["modules"]["decoder"]) == 38
    manifest = composer.check(gptq).bundle.manifest
    assert manifest.provenance[-1].how == "quantized: three, by gptq on 2 files"


def rows_seen(bundle, answer, paths):
    """Return what goes into some layers of the decoder while it reads an answer."""
    seen = {path: [] for path in paths}
    Samples(bundle, "decoder", None, [answer]).watch({path: seen[path].append for path in paths})
    return [np.concatenate(seen[path]) for path in paths]


def test_the_adapter_and_the_soft_rows_are_in_what_is_seen():
    paths = ("layers.0.self_attn.q_proj", "layers.1.mlp.down_proj")
    with BundleOptions(MINI, backends={"decoder": "mlx"}).open() as bundle:
        name, (answer,) = read_answers(bundle, "transcribe", [{"audio": str(CLIPS[0])}])
        assert (name, answer.inputs["adapters"]) == ("decoder", ("speech",))
        first, second = rows_seen(bundle, answer, paths)
        embeds = answer.inputs["embeds"]
        assert len(first) == len(embeds) + len(answer.ids) - 1
        lm = bundle.component("decoder")
        norm = np.array(lm.model.model.layers[0].input_layernorm.weight.astype(mx.float32))
        wanted = embeds / np.sqrt(np.square(embeds).mean(1, keepdims=True) + 1e-6) * norm
        np.testing.assert_allclose(first[: len(embeds)], wanted, atol=1e-4)
        # The second layer reads what the adapter makes of the first.
        plain = replace(answer, inputs={**answer.inputs, "adapters": ()})
        (without,) = rows_seen(bundle, plain, paths[1:])
        assert abs(second - without).max() > 0.1 * abs(without).max()


def test_clips_that_are_cut_give_an_answer_for_each_piece():
    audio = [composer.read_audio(clip) for clip in (*CLIPS, *OTHERS)]
    samples = np.concatenate([np.asarray(each.samples).reshape(-1) for each in audio])
    with BundleOptions(MINI).open() as bundle:
        _, found = read_answers(bundle, "transcribe", [{"audio": (samples, audio[0].rate)}])
    assert len(found) > 1
    for answer in found:
        assert len(answer.inputs["embeds"]) == len(answer.inputs["per_layer"])


@pytest.mark.slow
def test_dwq_is_nearer_on_its_clips_by_scales_and_biases_alone(tmp_path):
    nearest = quantized(tmp_path / "nearest")
    learnt = quantized(tmp_path / "dwq", sources=CLIPS, method="dwq")
    assert far(learnt, CLIPS) < far(nearest, CLIPS)
    files = [mx.load(str(each / DECODER / "model.safetensors")) for each in (nearest, learnt)]
    assert files[0].keys() == files[1].keys()
    for name, value in files[0].items():
        assert value.dtype == files[1][name].dtype
        if not name.endswith((".scales", ".biases")):
            assert mx.array_equal(value, files[1][name])
    name = "language_model.model.layers.0.mlp.up_proj.scales"
    assert not mx.array_equal(files[0][name], files[1][name])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sources": (), "method": "gptq"}, "R540 no clip is given to calibrate on"),
        (
            {"sources": CLIPS, "method": "gptg"},
            "R597 no method is 'gptg'\n    hint: did you mean 'gptq'?",
        ),
        ({"sources": ("none.txt",)}, "R542"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(asked, message, tmp_path):
    with pytest.raises(ComposerError) as caught:
        composer.quantize(MINI, tmp_path / "new", precision=THREE, calibration=Calibration(**asked))
    assert message in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_what_nothing_watches_is_refused(tmp_path):
    with pytest.raises(ComposerError, match="R597 no component with a recipe can be watched"):
        composer.quantize(
            "mega-asr-mini",
            tmp_path / "new",
            precision={"encoder": "int8"},
            calibration=Calibration(CLIPS),
        )


@pytest.mark.parametrize(
    ("dtype", "made_of"),
    [
        (torch.float32, {}),
        (torch.bfloat16, {}),
        (torch.float32, {"kind": "llama", "mlp_bias": True}),
    ],
)
def test_awq_moves_scales_into_norms_and_matrices_before(tmp_path, monkeypatch, dtype, made_of):
    """With 8 bits the numbers stay, though norms and columns are others."""
    model = torch_model(**made_of)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "layernorm" in name:
                value[::9] *= 8  # columns that matter more
            elif name.endswith("bias"):
                value.normal_(0, 0.3)
    save(model, tmp_path / "repo" / "lm", dtype)
    (tmp_path / "bundle.yaml").write_text(TINY)
    text = tmp_path / "text.txt"
    text.write_text("anything")
    ids = np.random.default_rng(3).integers(3, ROWS, 200)
    monkeypatch.setattr(CalibratedDecoder, "texts", lambda self, text: [Answer(ids)])
    asked = {"decoder": QuantizationRecipe(8, 32, name="eight")}
    made = {}
    for name, calibration in (("nearest", None), ("awq", Calibration((text,), "awq"))):
        composer.quantize(tmp_path, tmp_path / name, precision=asked, calibration=calibration)
        made[name] = mx.load(str(tmp_path / name / "repo" / "lm" / "model.safetensors"))
    notes = json.loads((tmp_path / "awq" / "quantization.json").read_text())
    tensors = notes["tensors"]["repo/lm"]
    scaled = [name for name, origin in tensors.items() if origin.get("scaled")]
    moved = ("layernorm.weight", "up_proj.bias")
    assert scaled == [name for name in tensors if name.endswith(moved)]
    for name in scaled:
        assert made["awq"][name].dtype == made["nearest"][name].dtype
    assert any((made["awq"][name] != made["nearest"][name]).any() for name in scaled)
    given = {"precision": {"decoder": "float32"}}
    found = {}
    for name in ("", "nearest", "awq"):
        with composer.load(tmp_path / name / "bundle.yaml", **given) as bundle:
            found[name] = bundle.run(ids=IDS).outputs["logits"]
    errors = {name: abs(found[name] - found[""]).max() for name in made}
    most = 0.1 if made_of else 0.06  # without its bias divided up_proj makes 0.13 of the first
    assert errors["awq"] < most * abs(found[""]).max()
    if dtype == torch.float32:  # whose scales and biases are stored exactly
        assert errors["awq"] < errors["nearest"]


def test_awq_moves_nothing_that_an_adapter_reads(tmp_path):
    made = quantized(tmp_path / "awq", sources=CLIPS[:1], method="awq")
    notes = json.loads((made / "quantization.json").read_text())
    tensors = notes["tensors"]["repo/decoder"]
    assert not [name for name, origin in tensors.items() if origin.get("scaled")]
    nearest = mx.load(str(quantized(tmp_path / "nearest") / DECODER / "model.safetensors"))
    found = mx.load(str(made / DECODER / "model.safetensors"))
    name = "language_model.model.layers.0.self_attn.{}_proj.weight"
    assert mx.array_equal(found[name.format("q")], nearest[name.format("q")])
    assert not mx.array_equal(found[name.format("v")], nearest[name.format("v")])


@pytest.mark.parametrize("method", METHODS)
def test_each_method_writes_what_mlx_lm_reads(tmp_path, monkeypatch, method):
    from mlx_lm.utils import load_model

    save(torch_model(), tmp_path / "repo" / "lm")
    (tmp_path / "bundle.yaml").write_text(TINY)
    (tmp_path / "text.txt").write_text("anything")
    ids = np.random.default_rng(3).integers(3, ROWS, 200)
    monkeypatch.setattr(CalibratedDecoder, "texts", lambda self, text: [Answer(ids)])
    asked = {"decoder": QuantizationRecipe(4, 32, {"*.self_attn.*": QuantizationRule(6, 64)})}
    calibration = Calibration((tmp_path / "text.txt",), method)
    made = composer.quantize(
        tmp_path, tmp_path / "new", precision=asked, calibration=calibration, shard=60_000
    )
    with composer.load(made.path) as bundle:
        ours = mx.array(bundle.run(ids=IDS).outputs["logits"])
    theirs, _ = load_model(tmp_path / "new" / "repo" / "lm")
    assert mx.array_equal(ours, theirs(mx.array(IDS)[None])[0].astype(mx.float32))
    stored = {}
    for file in (tmp_path / "new" / "repo" / "lm").glob("*.safetensors"):
        stored |= mx.load(str(file))
    loaded = dict(tree_flatten(theirs.parameters()))
    assert loaded.keys() == stored.keys()
    for name, value in stored.items():
        assert mx.array_equal(value, loaded[name])
    with composer.load(tmp_path, precision=asked) as bundle:
        assert (bundle.run(ids=IDS).outputs["logits"] != np.array(ours)).any()
    assert composer.verify(tmp_path / "new").problems == ()
