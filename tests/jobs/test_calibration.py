"""Bundles whose packing is calibrated on what their modules see."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import composer
from composer.comparison.divergence import answers, divergence
from composer.comparison.prompts import read_prompts
from composer.core.errors import ComposerError
from composer.core.quantization_recipe import QuantizationRecipe
from composer.jobs.calibration import Calibration
from composer.runtime.opening import BundleOptions
from composer.sources.shipped import shipped_folder

pytestmark = pytest.mark.usefixtures("one_thread")
MINI = shipped_folder("bundles") / "elderwise-mini"
CLIPS = tuple(sorted((MINI / "clips").glob("*.flac"))[:3])
OTHERS = sorted((MINI / "clips").glob("*.flac"))[3:6]
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


def test_on_the_graph_it_is_nearer_than_rounding_and_than_text(gptq, tmp_path):
    text = tmp_path / "text.txt"
    lines = (MINI / "clips" / "references.jsonl").read_text().splitlines()
    text.write_text("\n".join(json.loads(line)["text"] for line in lines))
    rounded = far(quantized(tmp_path / "nearest"), OTHERS)
    on_text = far(quantized(tmp_path / "text", sources=(text,)), OTHERS)
    assert far(gptq, OTHERS) < 0.8 * min(rounded, on_text)


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
    assert manifest.provenance[-1].how == "quantized: three, by gptq on 3 files"


def test_the_adapter_and_the_soft_rows_are_in_what_is_seen():
    with BundleOptions(MINI, backends={"decoder": "mlx"}).open() as bundle:
        prompts = read_prompts(bundle, "transcribe", [{"audio": str(CLIPS[0])}])
        (prompt,) = prompts.prompts
        lm = bundle.component("decoder")
        seen = {path: [] for path in ("layers.0.self_attn.q_proj", "layers.1.mlp.down_proj")}
        watched = lm.watch({path: rows.append for path, rows in seen.items()})
        bundle.call("decoder", watched.__enter__)
        prompts.replay(bundle, prompt)
        bundle.call("decoder", watched.__exit__, None, None, None)
        rows = {path: np.concatenate(each) for path, each in seen.items()}
        embeds = prompt.values["embeds"]
        norm = np.array(lm.model.model.layers[0].input_layernorm.weight.astype(mx.float32))
        wanted = embeds / np.sqrt(np.square(embeds).mean(1, keepdims=True) + 1e-6) * norm
        first = rows["layers.0.self_attn.q_proj"]
        np.testing.assert_allclose(first[: len(embeds)], wanted, atol=1e-4)
        assert len(first) == len(embeds) + len(prompt.values["answer.ids"])
        # The second layer reads what the adapter makes of the first.
        bundle.call("decoder", lm.adapters.switch, ())
        plain = []
        watched = lm.watch({"layers.1.mlp.down_proj": plain.append})
        bundle.call("decoder", watched.__enter__)
        bundle.call("decoder", lambda: np.array(_call(lm, prompt)))
        bundle.call("decoder", watched.__exit__, None, None, None)
        with_adapter = rows["layers.1.mlp.down_proj"][: len(embeds)]
        assert abs(with_adapter - plain[0]).max() > 0.1 * abs(plain[0]).max()


def _call(lm, prompt):
    embeds, per_layer = (mx.array(prompt.values[name]) for name in ("embeds", "per_layer"))
    return lm.logits(embeds, per_layer)


def test_clips_that_are_cut_give_a_prompt_for_each_piece(tmp_path):
    audio = [composer.read_audio(clip) for clip in (*CLIPS, *OTHERS)]
    rate = audio[0].rate
    samples = np.concatenate([np.asarray(each.samples).reshape(-1) for each in audio])
    with BundleOptions(MINI).open() as bundle:
        found = read_prompts(bundle, "transcribe", [{"audio": (samples, rate)}]).prompts
    assert len(found) > 1
    for prompt in found:
        assert len(prompt.values["embeds"]) == len(prompt.values["per_layer"])


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
