"""A decoder that was published as ONNX runs by its ID, in each precision that there is of it."""

import json
import shutil

import numpy as np
import pytest
import torch

import composer
from composer.cli import main
from composer.components.image.gemma4 import Gemma4Patches
from composer.components.onnx.graph import OnnxGraph
from composer.components.onnx.sequences import IsolatedSequences, LocalSequences
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from composer.formats.image.reading import read_picture
from composer.sources.default_manifests import default_manifests
from composer.sources.resolve import find_bundle
from tests.components.onnx_lm.loading import logits_of_torch, separate_store
from tests.models.decoders import their_greedy
from tests.reference.gemma4_vision import TOKENS as VISION_TOKENS
from tests.reference.qwen3_asr import RATE, make_clip
from tests.sources import checkpoints
from tests.sources.checkpoints import PICTURE, PRECISIONS, PROMPT, files_of

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = {"answer": {"max_tokens": 8}}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return a folder in the layout of onnx-community, and what transformers answers."""
    folder = tmp_path_factory.mktemp("onnx") / "repo"
    return folder, checkpoints.onnx_lm(folder)


def ids(bundle, **more):
    found = composer.load(bundle, **more)
    answered = found.run(text="the names", taps=True, options=OPTIONS)
    return answered.taps["answer.ids"].tolist(), found


def test_it_runs_by_its_id_and_then_offline(published, hub, new_process, capsys):
    mirror = hub({"ann/tiny-ONNX": files_of(published[0])})
    assert find_bundle("ann/tiny-ONNX").path.stem == "onnx-lm"
    assert main(["check", "ann/tiny-ONNX"]) == 0
    assert "variants: fp32, fp16, q4f16" in capsys.readouterr().out
    for name in PRECISIONS:
        file = published[0] / "onnx" / name
        sent = sum(seen.sent for seen in mirror.requests_of(f"onnx/{name}"))
        assert sent < file.stat().st_size or name == "model.onnx"  # the rest of which is beside it
    assert not mirror.requests_of("onnx/model.onnx_data")
    assert ids("ann/tiny-ONNX")[0] == published[1]
    new_process(offline=True)
    assert ids("ann/tiny-ONNX")[0] == published[1]


@pytest.mark.slow
@pytest.mark.parametrize("variant", [None, "fp32"])
def test_a_manifest_of_it_is_locked_and_then_trusted(
    published, hub, new_process, tmp_path, monkeypatch, variant, capsys
):
    hub({"ann/tiny-ONNX": files_of(published[0])})
    assert main(["new", str(tmp_path / "mine"), "--from", "ann/tiny-ONNX"]) == 0
    monkeypatch.chdir(tmp_path / "mine")
    assert "\n  repo: hf:ann/tiny-ONNX\n" in (tmp_path / "mine/bundle.yaml").read_text()
    found, bundle = ids(".", variant=variant)
    assert found == published[1]
    assert isinstance(graph_of(bundle), IsolatedSequences)
    assert main(["lock", "."]) == 0
    assert "model.onnx_data" in (tmp_path / "mine/bundle.lock").read_text()
    new_process(offline=True)
    found, bundle = ids(".", variant=variant)
    assert found == published[1]
    assert isinstance(graph_of(bundle), LocalSequences)


def graph_of(bundle):
    return bundle._components.by_name["decoder"].decoder.session.graph


def test_a_folder_runs_and_remembers_a_conversation(published):
    found = composer.load(published[0])
    first = found.run(text="the names", options=OPTIONS)
    second = found.run(text="again", history=first.outputs["history"], options=OPTIONS)
    alone = composer.load(published[0]).run(
        text="again", history=first.outputs["history"], options=OPTIONS
    )
    assert second.outputs["history"].tolist() == alone.outputs["history"].tolist()


def trimmed(published, tmp_path, left):
    folder = tmp_path / "repo"
    shutil.copytree(published[0], folder)
    checkpoints.keep_graphs(folder, left)
    return folder


@pytest.mark.parametrize(
    ("left", "name"),
    [
        (("model_q4.onnx",), "onnx-lm-4bit"),
        (("model.onnx", "model.onnx_data", "model_q4.onnx"), "onnx-lm-4bit"),
        (("model.onnx", "model.onnx_data"), "onnx-lm-float"),
    ],
)
def test_a_repository_with_fewer_files_has_the_smallest(published, tmp_path, left, name):
    folder = trimmed(published, tmp_path, left)
    assert find_bundle(folder).path.stem == name
    assert ids(folder)[0] == published[1]


def test_safetensors_come_before_graphs(published, tmp_path):
    folder = trimmed(published, tmp_path, PRECISIONS)
    (folder / "model.safetensors").write_bytes(b"")
    assert find_bundle(folder).path.stem == "lm"


def test_speech_cannot_be_put_into_ids(published, tmp_path):
    """A bundle that scatters rows into the prompt is refused, with the reason."""
    folder = trimmed(published, tmp_path, PRECISIONS)
    assert folder == tmp_path / "repo"
    (tmp_path / "bundle.yaml").write_text(MANIFEST)
    report = composer.check(tmp_path)
    reason = "repo/onnx/model_q4.onnx: it takes input_ids alone, so that no row of speech"
    found = {problem.code: str(problem) for problem in report.problems}
    assert set(found) == {"W201", "W203", "W204"}  # no embed, no input embeds, and prompt instead
    assert reason in found["W201"]
    assert reason in found["W203"]


MANIFEST = """composer: 1
name: speaks
sources: {repo: ./repo}
components:
  decoder: {use: onnx.decoder, weights: repo/onnx/model_q4.onnx, files: repo}
inputs: {ids: ids}
graph:
  words: {run: decoder.embed, with: {ids: $ids}}
  answer: {run: decoder.generate, with: {embeds: $words}}
outputs: {text: $answer.text}
"""


def test_a_folder_of_onnxruntime_genai_runs(tmp_path):
    """Its attention is one operator, and its logits are those of the last row alone."""
    folder = tmp_path / "repo"
    model, tokenizer = checkpoints.onnx_genai(folder)
    assert find_bundle(folder).path.stem == "onnx-genai"
    assert composer.check(folder).ok
    wanted = tokenizer.encode(PROMPT).ids
    found, bundle = ids(folder)
    assert found == their_greedy(model, wanted, count=8)
    decoder = bundle._components.by_name["decoder"]
    logits = decoder.logits(prompt=np.array(wanted))
    assert separate_store(logits, logits_of_torch(model, np.array(wanted))) < 1e-4


def test_a_model_of_another_type_is_named(published, tmp_path):
    folder = trimmed(published, tmp_path, PRECISIONS)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "qwen33"}))
    with pytest.raises(ComposerError, match="no default manifest is for its model_type 'qwen33'"):
        find_bundle(folder)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["_q4", ""])
def test_gemma_4_converses_with_its_per_layer_inputs(hub, tmp_path, suffix):
    folder = tmp_path / "repo"
    model = checkpoints.onnx_gemma4(folder)
    hub({"ann/gemma-4-ONNX": files_of(folder)})
    assert find_bundle("ann/gemma-4-ONNX").path.stem == "onnx-gemma-4"
    assert composer.check("ann/gemma-4-ONNX").ok
    bundle = composer.load("ann/gemma-4-ONNX", variant=None if suffix else "fp32")
    history = []
    for text in ("Good morning.", "What did I say?"):
        found = bundle.run(
            text=text, history=history, taps=["asked.ids", "answer.ids"], options=OPTIONS
        )
        asked = torch.tensor(found.taps["asked.ids"])[None]
        with torch.no_grad():
            wanted = model.generate(asked, max_new_tokens=8, do_sample=False)
        answered = found.taps["answer.ids"].tolist()
        assert answered
        assert wanted[0, asked.shape[1] :].tolist()[: len(answered)] == answered
        history = found.outputs["history"]


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    """Return transformers' whole Gemma-4, and a folder with its four graphs."""
    folder = tmp_path_factory.mktemp("gemma") / "repo"
    return checkpoints.onnx_gemma4_speech(folder), folder


@pytest.mark.slow
def test_gemma_4_transcribes_and_sees_by_its_id(gemma, hub, new_process):
    theirs, folder = gemma
    hub({"ann/gemma-4-ONNX": files_of(folder)})
    assert find_bundle("ann/gemma-4-ONNX").path.stem == "onnx-gemma-4-speech"
    assert composer.check("ann/gemma-4-ONNX").ok
    clip = make_clip(1.37)
    options = {"answer": {"max_tokens": VISION_TOKENS}}
    with composer.load("ann/gemma-4-ONNX") as bundle:
        given = {"picture": PICTURE, "question": "the line", "options": options}
        seen = bundle.run(task="see", taps=True, **given).taps
        spoken = bundle.run(
            task="transcribe", audio=(clip, RATE), instruction="line", taps=True, options=options
        ).taps
    for taps, pictures, sound in ((seen, [PICTURE], None), (spoken, [], clip)):
        asked = taps["asked.ids"]
        inputs, answer = theirs.answer(asked, pictures, sound)
        np.testing.assert_allclose(taps["embeds"], inputs["embeds"], atol=1e-4)
        found = taps["answer.ids"].tolist()
        assert len(found) > 4
        assert found == answer[: len(found)]
    assert seen["asked.ids"].tolist() == theirs.prompt([PICTURE], "the line").tolist()
    frames = len(spoken["mel"])
    assert len(spoken["soft"]) == -(-frames // 4) < frames
    assert np.array_equal(seen["patches.positions"][-1], [len(seen["patches"][0]) - 1,
                                                          len(seen["patches"]) - 1])  # fmt: skip
    new_process(offline=True)
    with composer.load("ann/gemma-4-ONNX") as bundle:
        again = bundle.run(task="see", taps=["answer.ids"], **given).taps["answer.ids"]
    assert again.tolist() == seen["answer.ids"].tolist()


def vision_of(folder, **inputs):
    file = Location("repo", "", folder) / "onnx/vision_encoder.onnx"
    spec = Spec("vision", OnnxGraph.Config(batch="inputs", inputs=inputs), file)
    return OnnxGraph.load(spec, OnnxGraph.facts(spec, Headers()), Placement(threads=1))


@pytest.mark.slow
def test_padding_to_the_budget_gives_the_same_rows(gemma):
    _, folder = gemma
    made = Gemma4Patches(Gemma4Patches.Config())(read_picture(PICTURE))
    given = {"pixel_values": made["flat"], "pixel_position_ids": made["positions"]}
    budget = {"layout": "F D", "pad": {"fixed": 2520}}
    padded = vision_of(folder, pixel_values=budget, pixel_position_ids=budget | {"fill": -1})
    assert separate_store(padded(**given), vision_of(folder)(**given)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["rows and columns", "the order of patches"])
def test_patches_in_other_places_are_other_pictures(gemma, wrong):
    _, folder = gemma
    vision = vision_of(folder)
    prepare = Gemma4Patches(Gemma4Patches.Config())
    made = prepare(read_picture(PICTURE))
    given = {"pixel_values": made["flat"], "pixel_position_ids": made["positions"]}
    right = vision(**given)
    if wrong == "rows and columns":
        given["pixel_position_ids"] = made["positions"][:, ::-1]
    else:
        given["pixel_values"] = made["flat"][::-1]
    assert separate_store(vision(**given), right) > 0.1


def test_the_graphs_of_encoders_are_recognised_by_their_files(tmp_path):
    """Without any of them the decoder alone converses."""
    known = default_manifests()["onnx-gemma-4-speech"].recognises["files"]
    folder = tmp_path / "repo"
    (folder / "onnx").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma4"}))
    for name in known:
        (folder / name).write_bytes(b"")
    assert find_bundle(folder).path.stem == "onnx-gemma-4-speech"
    (folder / "onnx/audio_encoder_q4.onnx").unlink()
    assert find_bundle(folder).path.stem == "onnx-gemma-4"
