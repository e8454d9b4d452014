"""Gemma-4 in CrispASR's GGUF files against transformers with the weights that they stand for."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
import torch

import composer
from composer.components.checkpoints.gemma4.checkpoint import read_decoder
from composer.core.component import ComponentConfig, Spec
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.formats.making import refusal
from tests.models.backends import BACKENDS, family
from tests.reference import crispasr
from tests.reference.gemma4_audio import INSTRUCTION, TOKENS, Gemma4Audio
from tests.reference.gemma4_gguf import KINDS, load
from tests.reference.qwen3_asr import make_clip
from tests.streams import outputs

pytestmark = pytest.mark.usefixtures("one_thread")
IDS = np.random.default_rng(0).integers(3, 200, 30)
COUNT, ENDS = 24, [1, 106]


@pytest.fixture(scope="module", params=[("e2b", "Q8_0"), ("e4b", "Q4_0"), ("e2b", "F16")])
def written(request, tmp_path_factory):
    """Return a file, and transformers' model with the weights in it."""
    kind, stored = request.param
    theirs = Gemma4Audio(kind)
    file = tmp_path_factory.mktemp("crispasr") / "gemma4-e2b-it.gguf"
    meant = crispasr.write(theirs, file, stored)
    missing, unexpected = theirs.model.load_state_dict(meant, strict=False)
    assert not unexpected
    assert missing in ([], ["lm_head.weight"])
    theirs.tokenizer.save(str(file.parent / "tokenizer.json"))
    return file, theirs


def prompt(lm):
    return lm.embed(IDS), lm.per_layer(IDS)


@torch.no_grad()
def expected(theirs, **more):
    ids = torch.tensor(IDS)[None]
    return theirs.model(input_ids=ids, mm_token_type_ids=torch.zeros_like(ids), **more)


@pytest.mark.parametrize("backend", KINDS)
def test_logits_and_greedy_ids_are_those_of_transformers(written, backend):
    file, theirs = written
    lm = load(file, backend)
    found, want = lm.logits(*prompt(lm)), expected(theirs).logits[0].numpy()
    assert np.abs(found - want).max() <= 1e-4 * np.abs(want).max()
    ids = torch.tensor(IDS)[None]
    more = {"max_new_tokens": COUNT, "do_sample": False, "pad_token_id": 0}
    answer = theirs.model.generate(ids, eos_token_id=ENDS, **more)[0, len(IDS) :].tolist()
    stream = outputs(lm.generate(*prompt(lm), max_tokens=COUNT, stop=()))
    assert stream[1]["ids"].tolist() == [each for each in answer if each not in ENDS]


def read(theirs, folder, change):
    """Write a file with changes, and return what is read of it or the error's text."""
    file = folder / "gemma4.gguf"
    crispasr.write(theirs, file, "Q8_0", change)
    place = Location("repo", file.name, folder)
    return lambda: read_decoder(place, Headers())


@pytest.fixture(scope="module")
def theirs():
    return Gemma4Audio("e2b")


def test_full_layers_are_those_of_larger_heads_where_no_key_says_so(theirs, tmp_path):
    def older(metadata, tensors):
        del metadata["gemma4e2b.llm.layer_full_mask"]

    found = read(theirs, tmp_path, older)()
    assert found.settings.args["layer_types"] == theirs.model.config.text_config.layer_types


def test_positions_of_full_layers_come_from_the_code_where_no_key_says_them(theirs, tmp_path):
    def older(metadata, tensors):
        del metadata["gemma4e2b.llm.rope_theta_full"]
        del metadata["gemma4e2b.llm.partial_rotary_factor"]

    rope = read(theirs, tmp_path, older)().settings.args["rope_parameters"]["full_attention"]
    assert rope == theirs.model.config.text_config.rope_parameters["full_attention"]


def test_ends_are_gemmas(theirs, tmp_path):
    found = read(theirs, tmp_path, None)()
    assert found.checkpoint.stop == {1, 106}
    assert [note.code for note in found.notes] == ["L325", "L326"]


def missing_tensor(metadata, tensors):
    del tensors["llm.layers.1.ple_gate.weight"]


def strange_tensor(metadata, tensors):
    tensors["llm.layers.1.gate.weight"] = np.ones((32, 96), np.float32)


def other_width(metadata, tensors):
    metadata["gemma4e2b.llm.intermediate_size"] = 128


REFUSED = {
    missing_tensor: "W277 1 tensor is missing: layers.1.per_layer_input_gate.weight",
    strange_tensor: "W278 1 tensor is neither the decoder's nor a tower's: llm.layers.1.gate",
    other_width: "W279 layers.0.mlp.gate_proj.weight is [96, 96], but config.json makes it [128",
}


@pytest.mark.parametrize("change", REFUSED)
def test_it_refuses(change, theirs, tmp_path):
    assert REFUSED[change] in refusal(read(theirs, tmp_path, change))


class SpeechFirst(Gemma4Audio):
    """The model, asked in CrispASR's order: the speech, then what is wanted."""

    def ids(self, rows, instruction=INSTRUCTION):
        text = f"<bos><|turn>user\n<|audio>{'<|audio|>' * rows}<audio|>{instruction}<turn|>\n"
        return np.array(self.tokenizer.encode(f"{text}<|turn>model\n").ids)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Return the model with the weights of a file, and the folders of the bundle's two sources."""
    theirs = SpeechFirst("e2b")
    home = tmp_path_factory.mktemp("crispasr")
    sources = {"repo": home / "repo", "release": home / "release"}
    for folder in sources.values():
        folder.mkdir()
    meant = crispasr.write(theirs, sources["repo"] / "gemma4-e2b-it-q8_0.gguf", "Q8_0")
    theirs.model.load_state_dict(meant, strict=False)
    theirs.tokenizer.save(str(sources["release"] / "tokenizer.json"))
    return theirs, sources


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_of_the_tower_are_those_of_transformers(backend, speech):
    theirs, sources = speech
    kind = family("gemma4_audio", backend)
    file = Location("repo", "gemma4-e2b-it-q8_0.gguf", sources["repo"])
    found = Spec("speech", ComponentConfig(), file)
    facts = kind.facts(found, Headers())
    assert facts.casts == (
        "f16 -> f32, in 34 modules",
        "q8_0 -> f32, in 7 modules",
    )
    placement = Placement(device="cpu") if backend == "mlx" else Placement()
    component = kind.load(found, facts, placement)
    clip = make_clip(2.0)
    mel, mask = theirs.features(clip)
    rows = np.array(component(mx.array(mel[mask]) if backend == "mlx" else mel[mask]))
    want = theirs.stages(clip)["rows"]
    assert rows.shape == want.shape
    assert np.abs(rows - want).max() <= 1e-4


@pytest.mark.parametrize("backend", KINDS)
def test_the_shipped_bundle_transcribes_as_transformers_does(speech, backend):
    theirs, sources = speech
    clip = make_clip(1.5)
    audio = composer.read_audio((clip, 16_000))
    want = theirs.dump(clip, audio).stages
    choice = {"variant": "q8_0", "sources": sources, "backends": {"*": backend}}
    with composer.load("gemma-4-e2b-gguf", **choice) as bundle:
        options = {"answer": {"max_tokens": TOKENS}}
        given = {"audio": audio, "instruction": INSTRUCTION, "options": options}
        taps = bundle.run(task="transcribe", taps=True, **given).taps
    for name in ("mel", "soft", "embeds", "per_layer"):
        np.testing.assert_allclose(taps[name], want[name].value, atol=1e-4, err_msg=name)
    assert taps["asked.ids"].tolist() == want["asked.ids"].value.tolist()
    assert taps["answer.ids"].tolist() == want["answer.ids"].value.tolist()


def without_bounds(metadata, tensors):
    for name in [name for name in tensors if name.endswith(("_min", "_max"))]:
        del tensors[name]


def without_a_norm(metadata, tensors):
    del tensors["audio.layers.1.out_ln.weight"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (without_bounds, "W273 use_clipped_linears contradicts the tensors"),
        (without_a_norm, "W270 1 tensor missing\n    audio_tower.layers.1.norm_out.weight"),
    ],
)
def test_a_tower_that_lacks_something_is_refused(change, text, theirs, tmp_path):
    file = tmp_path / "old.gguf"
    crispasr.write(theirs, file, "Q8_0", change)
    found = Spec("speech", ComponentConfig(), Location("repo", file.name, tmp_path))
    assert text in refusal(lambda: family("gemma4_audio", "onnx").facts(found, Headers()))
