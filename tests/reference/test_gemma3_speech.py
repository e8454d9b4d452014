"""A Gemma-3 with speech by its default manifest, stage by stage, against transformers."""

import shutil

import numpy as np
import pytest

import composer
from composer.core.errors import ComposerError
from composer.sources.default_manifests import default_manifests
from tests.components.test_pixels import picture
from tests.reference.gemma3_speech import INSTRUCTION, SPEECH_LORA, TOKENS, Gemma3Speech
from tests.reference.qwen3_asr import RATE, make_clip

SECONDS = 2.4
OPTIONS = {"answer": {"max_tokens": TOKENS}}
BACKENDS = ("mlx", "onnx")


@pytest.fixture(scope="module")
def theirs(one_thread):
    return Gemma3Speech()


@pytest.fixture(scope="module")
def want(theirs):
    return theirs.stages(make_clip(SECONDS))


@pytest.fixture(scope="module")
def repo(theirs, tmp_path_factory):
    return theirs.write(tmp_path_factory.mktemp("gemma3") / "repo")


def run(folder, task="transcribe", backend=None, **given):
    given = given or {"audio": (make_clip(SECONDS), RATE)}
    backends = {"*": backend} if backend else None
    with composer.load(folder, backends=backends) as bundle:
        return bundle.run(task=task, taps=True, options=OPTIONS, **given).taps


def without_stop(ids):
    return [each for each in np.asarray(ids).tolist() if each not in (1, 4)]


def wrong_stages(taps, want):
    """Return which stages differ from the reference, in their order."""
    found = []
    for name, expected in want.items():
        value = np.array(taps[name])
        if name.endswith("ids"):
            same = without_stop(value) == without_stop(expected)
        else:
            same = value.shape == expected.shape and np.abs(value - expected).max() <= 1e-4
        if not same:
            found.append(name)
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_stage_is_that_of_transformers(repo, theirs, want, backend):
    """The adapter is on where there is speech, and off in a conversation."""
    taps = run(repo, backend=backend)
    assert wrong_stages(taps, want) == []
    assert len(set(without_stop(want["answer.ids"]))) > 3
    asked = run(repo, "chat", backend, text="Which way?")
    base = theirs.reply("Which way?")
    assert without_stop(asked["answer.ids"]) == without_stop(base)
    assert without_stop(base) != without_stop(theirs.reply("Which way?", theirs.adapted))


def test_a_picture_is_answered_by_the_base_model(repo, theirs):
    taps = run(repo, "see", picture=picture(60, 80), question="What is there?")
    want = theirs.see(np.asarray(taps["pixels"]), "What is there?")
    assert without_stop(taps["answer.ids"]) == without_stop(want)
    assert len(set(without_stop(want))) > 2


def test_an_adapter_in_a_folder_of_its_own_gives_the_same(theirs, want, tmp_path):
    folder = theirs.write(tmp_path / "repo", inline=False)
    text = default_manifests()["gemma-3-speech"].path.read_text()
    changed = text.replace("{speech: {weights: repo}}", "{speech: {weights: repo/speech-lora}}")
    (folder / "bundle.yaml").write_text(changed)
    assert wrong_stages(run(folder), want) == []


def test_a_translation_has_a_text_of_its_own(repo):
    taps = run(repo, "translate")
    assert "Translate this audio clip into Korean." in taps["asked.text"]
    assert INSTRUCTION in run(repo)["asked.text"]


WRONG = {
    "rows that the decoder is to scale": (
        "emits: decoder.embed_scaled                #",
        "emits: decoder.embed  #",
        "embeds",
    ),
    "audio that is read as words": (
        "audio_attention: bidirectional",
        "audio_attention: causal",
        "answer.ids",
    ),
    "the adapter off": ("adapters: [speech], ", "", "answer.ids"),
    "another scale": ("{weights: repo}}\n  prompt", "{weights: repo, scale: 1.0}}\n  prompt",
                      "answer.ids"),
    "an approximate gelu": ("linear, gelu, linear", "linear, gelu_tanh, linear", "soft"),
    "another share before": (
        "{use: audio.phi4_log_mel}",
        "{use: audio.phi4_log_mel, config: {preemphasis: 0.95}}",
        "mel",
    ),
    "text before the speech": (
        "{speech}<end_of_audio>\\n\\n{instruction}",
        "{instruction}{speech}<end_of_audio>\\n\\n",
        "asked.ids",
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", WRONG)
def test_one_wrong_setting_is_named(repo, want, tmp_path, why):
    old, new, stage = WRONG[why]
    text = default_manifests()["gemma-3-speech"].path.read_text()
    assert text.count(old) == 1
    folder = tmp_path / "repo"
    shutil.copytree(repo, folder)
    (folder / "bundle.yaml").write_text(text.replace(old, new))
    assert wrong_stages(run(folder), want)[0] == stage


def test_an_adapter_without_alpha_is_refused(theirs, tmp_path):
    lora = {key: value for key, value in SPEECH_LORA.items() if key != "lora_alpha"}
    folder = theirs.write(tmp_path / "repo", speech_lora=lora)
    with pytest.raises(ComposerError, match=r"W294 .*its config says no scale"):
        composer.load(folder)
