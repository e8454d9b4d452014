"""Bundles that are written with quantized weights: complete, and the same numbers everywhere."""

import errno
import json
import os
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import composer
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.quantization_recipe import QuantizationRecipe, QuantizationRule
from composer.formats import Headers
from composer.quantization import checkpoint
from composer.sources.shipped import shipped_folder
from tests.components.mlx_lm.models import IDS, save, torch_model
from tests.jobs.tiny import TINY

pytestmark = pytest.mark.usefixtures("one_thread")
ELDERWISE = shipped_folder("bundles") / "elderwise-mini"
MANIFEST = f"{TINY}variants: {{other: {{components: {{decoder: {{precision: float16}}}}}}}}\n"
GEMMA4 = """\
composer: 1
name: tiny-gemma
sources: {repo: ./repo}
components: {decoder: {use: mlx.gemma4, weights: repo/decoder}}
inputs: {ids: ids}
graph:
  words: {run: decoder.embed, with: {ids: $ids}}
  rows: {run: decoder.per_layer, with: {ids: $ids}}
  logits: {run: decoder.logits, with: {embeds: $words, per_layer: $rows}}
outputs: {logits: $logits}
"""
EIGHT = QuantizationRule(8, 32, "mxfp8")
OF_LAYERS = {"*.layers.0.*": QuantizationRule(5, 64), "*.layers.1.*": QuantizationRule(2, 32),
             "*.layers.2.mlp.*": QuantizationRule(6, 32)}  # fmt: skip
THREE = QuantizationRecipe(3, 32, {**OF_LAYERS, "*.embed_tokens": EIGHT}, name="three")
SIX = QuantizationRecipe(6, 64, {"*embed_tokens": QuantizationRule(4, 64)}, name="six")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    save(torch_model(), folder / "repo" / "lm")
    (folder / "bundle.yaml").write_text(MANIFEST)
    (folder / "onnx.yaml").write_text(MANIFEST.replace("mlx.lm", "onnx.lm"))
    return folder


def name_of(recipe):
    return recipe if isinstance(recipe, str) else recipe.name


def logits(bundle, **options):
    with composer.load(bundle, **options) as loaded:
        return loaded.run(ids=IDS).outputs["logits"]


@pytest.mark.parametrize("recipe", ["mixed-8-4", "mxfp4", "mxfp8", "nvfp4", THREE], ids=name_of)
def test_on_disk_at_load_and_in_mlx_lm_are_the_same(tiny, tmp_path, recipe):
    from mlx_lm.utils import load_model

    made = composer.quantize(tiny, tmp_path / "new", precision={"decoder": recipe}, shard=60_000)
    assert made.path == tmp_path / "new" / "bundle.yaml"
    ours = logits(tmp_path / "new")
    assert (ours == logits(tiny, precision={"decoder": recipe})).all()
    folder = tmp_path / "new" / "repo" / "lm"
    theirs, _ = load_model(folder)
    assert mx.array_equal(mx.array(ours), theirs(mx.array(IDS)[None])[0].astype(mx.float32))
    assert (ours != logits(tiny)).any()
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 1
    assert composer.verify(tmp_path / "new").problems == ()


def test_a_new_bundle_says_where_it_comes_from(tiny, tmp_path):
    made = composer.quantize(tiny, tmp_path / "My Own", precision={"decoder": "mixed-8-4,float32"})
    manifest = composer.check(made.path).bundle.manifest
    assert (manifest.name, manifest.variants) == ("my-own", ())
    assert made.left_out == ("other",)
    assert manifest.components["decoder"].precision == "float32"
    (origin,) = manifest.provenance
    assert (origin.what, origin.from_, origin.how) == ("decoder", "tiny", "quantized: mixed-8-4")
    notes = json.loads((tmp_path / "My Own" / "quantization.json").read_text())
    assert notes["recipes"]["decoder"]["name"] == "mixed-8-4"
    tensors = notes["tensors"]["repo/lm"]
    stored = Headers().safetensors(Location("repo", "lm", tmp_path / "My Own" / "repo"))
    assert tensors.keys() == stored.keys()
    packed = tensors["model.layers.0.self_attn.q_proj.scales"]
    assert packed["tensor"] == "model.layers.0.self_attn.q_proj.weight"
    assert (packed["stored"], packed["packed"]) == ("f32", "8 bits, groups of 64")
    assert "packed" not in tensors["model.embed_tokens.weight"]
    config = json.loads((tmp_path / "My Own" / "repo" / "lm" / "config.json").read_text())
    assert config["quantization"]["bits"] in (4, 8)
    forms = {group.kind: group.form for group in made.weights["decoder"]}
    assert forms["attention"] == "8 bits, groups of 64"
    assert forms["MLP"] == "4 bits, groups of 64"


def test_pieces_and_shards_do_not_change_a_byte(tiny, tmp_path, monkeypatch):
    whole = composer.quantize(tiny, tmp_path / "whole", precision={"decoder": "mixed-8-4"})
    monkeypatch.setattr(checkpoint, "PIECE", 1000)
    pieces = composer.quantize(tiny, tmp_path / "pieces", precision={"decoder": "mixed-8-4"})
    first, second = (
        each.path.parent / "repo" / "lm" / "model.safetensors" for each in (whole, pieces)
    )
    assert first.read_bytes() == second.read_bytes()
    for tensor in (
        Headers().safetensors(Location("repo", "lm", tmp_path / "whole" / "repo")).values()
    ):
        assert tensor.offset % 2 == 0


@pytest.mark.parametrize("rules", [(), ("*embed_tokens*", "*per_layer_model_projection")])
def test_gemma4_with_its_per_layer_table(tmp_path, rules):
    from mlx_lm.utils import load_model

    (tmp_path / "bundle.yaml").write_text(GEMMA4)
    recipe = QuantizationRecipe(4, 32, dict.fromkeys(rules, QuantizationRule(6, 32)), name="mine")
    asked = {"sources": {"repo": ELDERWISE}, "precision": {"decoder": recipe}}
    made = composer.quantize(
        composer.BundleOptions(tmp_path / "bundle.yaml", **asked), tmp_path / "new"
    )
    kinds = {group.kind: group.packed for group in made.weights["decoder"]}
    assert kinds["per-layer table"] == kinds["embeddings"] == bool(rules)
    assert [note.code for note in made.notes] == ["L324"] * bool(rules)
    ours = logits(tmp_path / "new")
    assert (ours == logits(tmp_path / "bundle.yaml", **asked)).all()
    plain = logits(tmp_path / "bundle.yaml", sources={"repo": ELDERWISE})
    assert abs(ours - plain).max() > 0.01
    theirs, _ = load_model(tmp_path / "new" / "repo" / "decoder")
    error = abs(ours - np.array(theirs(mx.array(IDS)[None])[0].astype(mx.float32))).max()
    assert error < 0.02 * abs(ours).max()  # bfloat16, in which mlx-lm orders a product otherwise


@pytest.mark.parametrize("recipe", ["mixed-8-4", SIX], ids=name_of)
def test_onnx_runtime_packs_what_mlx_packs(tiny, tmp_path, recipe):
    asked = {"decoder": recipe}
    plain = logits(tiny / "onnx.yaml")
    found = logits(tiny / "onnx.yaml", precision=asked)
    made = composer.quantize(tiny / "onnx.yaml", tmp_path / "onnx", precision=asked)
    theirs = composer.quantize(tiny, tmp_path / "mlx", precision=asked)
    file = "repo/lm/model.safetensors"
    assert (tmp_path / "onnx" / file).read_bytes() == (tmp_path / "mlx" / file).read_bytes()
    assert made.weights == theirs.weights
    assert (logits(made.path) == found).all()
    scale = abs(plain).max()
    assert abs(found - logits(theirs.path, precision={"decoder": "float32"})).max() < 1e-4 * scale
    assert abs(found - plain).max() > 1e-3 * scale


@pytest.mark.parametrize("recipe", ["ple-safe-4bit", "uniform-8"])
def test_onnx_gemma4_packs_what_mlx_packs(tmp_path, recipe):
    text = GEMMA4.replace("mlx.gemma4", "onnx.gemma4")
    (tmp_path / "mlx.yaml").write_text(GEMMA4)
    (tmp_path / "onnx.yaml").write_text(text)
    asked = {"sources": {"repo": ELDERWISE}, "precision": {"decoder": recipe}}
    for backend in ("mlx", "onnx"):
        options = composer.BundleOptions(tmp_path / f"{backend}.yaml", **asked)
        composer.quantize(options, tmp_path / backend)
    file = "repo/decoder/model.safetensors"
    assert (tmp_path / "onnx" / file).read_bytes() == (tmp_path / "mlx" / file).read_bytes()
    found = logits(tmp_path / "onnx.yaml", **asked)
    assert (logits(tmp_path / "onnx") == found).all()
    plain = logits(tmp_path / "onnx.yaml", sources={"repo": ELDERWISE})
    assert abs(found - plain).max() > 0.01


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ({}, "R597 no component has a recipe\n    hint: name one by --precision NAME=RECIPE"),
        (
            {"decoder": "float16"},
            "R597 decoder is asked for in no recipe: float16\n"
            "    hint: name one, as in --precision decoder=mixed-8-4",
        ),
        ({"other": "int8"}, "W219 precision is given for 'other', which is not a component"),
        (
            {"decoder": QuantizationRecipe(7)},
            "W219 precision of 'decoder': bits '7' in mode affine; expected one of 1, 2, 3, 4, 5, ",
        ),
        ({"decoder": QuantizationRecipe(4, 128)}, "columns, not a multiple of the group size 128"),
    ],
)
def test_what_cannot_be_quantized_is_refused(tiny, tmp_path, precision, message):
    with pytest.raises(ComposerError) as caught:
        composer.quantize(tiny, tmp_path / "new", precision=precision)
    assert message in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_bundle_is_never_replaced_unasked(tiny, tmp_path):
    asked = {"decoder": "int8"}
    (tmp_path / "new").mkdir()
    composer.quantize(tiny, tmp_path / "new", precision=asked)  # an empty folder is none
    (tmp_path / "new" / "note").write_text("mine")
    with pytest.raises(ComposerError, match="R507 there is a folder already"):
        composer.quantize(tiny, tmp_path / "new", precision=asked)
    assert (tmp_path / "new" / "note").exists()
    composer.quantize(tiny, tmp_path / "new", precision=asked, force=True)
    assert not (tmp_path / "new" / "note").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_full_disk_is_one_error_and_leaves_nothing(tiny, tmp_path, monkeypatch):
    written = os.pwrite

    def full(descriptor, data, at):
        if at > 50_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ComposerError) as caught:
        composer.quantize(tiny, tmp_path / "new", precision={"decoder": "int8"})
    assert str(caught.value) == f"{tmp_path / 'new'}: R507 cannot write: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_not_begun(tiny, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("composer.core.new_folder.shutil.disk_usage", lambda path: usage)
    with pytest.raises(ComposerError, match=r"R507 it takes .* GB, and 1e-06 GB are free"):
        composer.quantize(tiny, tmp_path / "new", precision={"decoder": "int8"})
    assert list(tmp_path.iterdir()) == []


def test_a_source_is_left_as_it_is(tiny, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in Path(tiny).rglob("*")}
    composer.quantize(tiny, tmp_path / "new", precision={"decoder": "int8"})
    assert {path: path.stat().st_mtime_ns for path in Path(tiny).rglob("*")} == before
