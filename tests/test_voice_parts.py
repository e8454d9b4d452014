"""The package of the guide to components: MFCCs against librosa, a GRU against torch."""

import json
import shutil
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

import composer
from tests.cli.conftest import cli
from tests.installed import installed

__all__ = ["cli"]
EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "voice-parts"
CLIP = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 8
LETTERS = ["<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
WIDTH, HIDDEN, END, TOKENS = 16, 24, 1, 20


class Model(torch.nn.Module):
    """The whole bundle behind its features, in torch."""

    def __init__(self):
        super().__init__()
        self.projector = torch.nn.Linear(39, WIDTH)
        self.gru = torch.nn.GRU(WIDTH, HIDDEN)
        self.embed = torch.nn.Embedding(len(LETTERS), WIDTH)
        self.head = torch.nn.Linear(HIDDEN, len(LETTERS), bias=False)

    @torch.no_grad()
    def spell(self, mfcc):
        """Return the likeliest ids up to the end."""
        _, hidden = self.gru(self.projector(mfcc))
        ids = []
        while len(ids) < TOKENS:
            token = int(self.head(hidden[0]).argmax())
            if token == END:
                break
            ids.append(token)
            _, hidden = self.gru(self.embed(torch.tensor([token])), hidden)
        return ids


def tensors_of(model):
    gru = {name.removesuffix("_l0"): each for name, each in model.gru.state_dict().items()}
    return {"embed": model.embed.weight.detach(), "head": model.head.weight.detach(), **gru}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    made = Model()
    for each in made.parameters():
        torch.nn.init.normal_(each, 0, 0.7)
    with torch.no_grad():
        made.projector.weight /= 20
    return made


@pytest.fixture
def package(tmp_path, monkeypatch):
    site = tmp_path / "site"
    shutil.copytree(EXAMPLE / "voice_parts", site / "voice_parts")
    with installed((EXAMPLE / "pyproject.toml").read_text(), site, monkeypatch):
        yield


@pytest.fixture
def folder(tmp_path, model, package):
    """Write the bundle with weights, and a clip."""
    made = tmp_path / "speller"
    for name in ("decoder", "projector"):
        (made / name).mkdir(parents=True)
    shutil.copy(EXAMPLE / "bundle.yaml", made)
    save_file(tensors_of(model), made / "decoder" / "model.safetensors")
    linear = {f"0.{name}": each for name, each in model.projector.state_dict().items()}
    save_file(linear, made / "projector" / "model.safetensors")
    added = {"id": END, "content": "</s>", "special": True, "normalized": False}
    added |= dict.fromkeys(("lstrip", "rstrip", "single_word"), False)
    vocab = {letter: number for number, letter in enumerate(LETTERS)}
    spelling = {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": "<unk>"}
    tokenizer = {"version": "1.0", "added_tokens": [added], "model": spelling}
    tokenizer["decoder"] = {"type": "Fuse"}
    (made / "decoder" / "tokenizer.json").write_text(json.dumps(tokenizer))
    soundfile.write(made / "clip.wav", CLIP, 16_000, "FLOAT")
    return made


def librosas(clip):
    """Return MFCCs with deltas [F, 39] as librosa makes them."""
    power = librosa.feature.melspectrogram(
        y=clip, sr=16_000, n_fft=400, hop_length=160, center=False, n_mels=26, htk=True, norm=None
    )
    rows = librosa.feature.mfcc(S=np.log(power + 1e-10), n_mfcc=13)
    first = librosa.feature.delta(rows, mode="nearest")
    return np.concatenate([rows, first, librosa.feature.delta(first, mode="nearest")])


def changed(folder, *changes):
    text = (folder / "bundle.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "changed.yaml"
    path.write_text(text)
    return path


def problems(folder, *changes):
    found = composer.check(changed(folder, *changes)).problems
    return [f"{p.place.line}:{p.place.column} {str(p).split(': ', 1)[1]}" for p in found]


def test_mfccs_are_librosas(folder):
    with composer.load(folder) as bundle:
        found = bundle.run(audio=(CLIP, 16_000), taps=["mfcc"]).taps["mfcc"]
    np.testing.assert_allclose(found.T, librosas(CLIP.astype(np.float64)), atol=1e-4)
    other = librosa.feature.mfcc(y=CLIP, sr=16_000, n_fft=400, hop_length=160, n_mels=26, n_mfcc=13)
    assert np.abs(found.T[:13, :90] - other[:, :90]).max() > 1


@pytest.mark.parametrize("seconds", [0.03, 0.4, 1.0])
def test_the_answer_is_torchs(folder, model, seconds):
    clip = CLIP[: int(16_000 * seconds)]
    with composer.load(folder) as bundle:
        result = bundle.run(audio=(clip, 16_000), taps=["mfcc"])
        pieces = "".join(bundle.stream(audio=(clip, 16_000)))
    ids = model.spell(torch.tensor(result.taps["mfcc"]))
    assert result.outputs["ids"].tolist() == ids
    assert result.text == pieces == "".join(LETTERS[each] for each in ids)


@torch.no_grad()
def test_every_option_counts(folder, model):
    def answer(**options):
        with composer.load(folder) as bundle:
            return bundle.run(audio=(CLIP, 16_000), options={"answer": options}, taps=True)

    plain = answer()
    text = plain.text
    assert len(set(text)) > 2
    middle = text[1:3]
    assert answer(stop_text=(middle,)).text == text[: text.index(middle)]
    assert answer(stop=(text[2],)).text == text[: text.index(text[2])]
    assert answer(no_repeat_ngram_size=1).text != text
    assert answer(temperature=3.0, seed=1).text != answer(temperature=3.0, seed=2).text
    marks = (text[0], text[0])
    assert answer(reasoning=marks).text == text.split(text[0], 1)[0]
    kept = answer(logprobs=True).taps["answer.logprobs"]
    _, hidden = model.gru(model.projector(torch.tensor(plain.taps["mfcc"])))
    first = torch.log_softmax(model.head(hidden[0]), -1).max()
    assert len(kept) == len(plain.outputs["ids"])
    assert abs(kept[0] - float(first)) < 1e-5


def test_by_command(folder, cli, monkeypatch):
    monkeypatch.chdir(folder)
    with composer.load(folder) as bundle:
        text = bundle.run(audio="clip.wav").text
    code, out, _ = cli("check", ".")
    assert (code, out.splitlines()[0]) == (0, "speller: ok, 3 nodes, 1 task")
    assert out.splitlines()[-1] == "next: composer transcribe . clip.wav"
    assert cli("lock", ".")[0] == 0
    assert cli("verify", ".")[0] == 0
    code, out, _ = cli("run", ".", "clip.wav", "--json")
    assert (code, json.loads(out)["outputs"]["text"]) == (0, text)
    code, out, _ = cli("transcribe", ".", "clip.wav")
    assert (code, out) == (0, f"{text}\n")
    (folder / "decoder" / "tokenizer.json").write_text("{}")
    assert cli("check", ".")[0] == 3


def test_what_does_not_fit_is_shown_in_the_manifest(folder):
    assert problems(folder, ("rate: 16000", "rate: 16000, deltas: 1")) == [
        "13:45 W209 axis 1 of $mfcc is 26 but projector.x needs 39\n"
        "    26 comes from features: config.coefficients 13, with deltas 1\n"
        "    39 comes from repo/projector: 0.weight [16, 39]"
    ]
    assert problems(folder, ("rate: 16000", "rate: 16000, coefficients: 30")) == [
        "7:39 M124 components.features.config: coefficients 30 is more than mels 26"
    ]
    assert problems(folder, ("repo/decoder}", "repo/decoder, config: {end: <end>}}")) == [
        "9:66 W913 '<end>' is no token of the tokenizer"
    ]
    assert problems(folder, ("max_tokens: 20", "max_tokens: 20, top_p: 0.5")) == [
        "14:35 W216 top_p 0.5 has no effect at temperature 0, which is greedy"
    ]


def test_tensors_that_do_not_fit(folder, model):
    tensors = tensors_of(model)
    file = folder / "decoder" / "model.safetensors"
    save_file({**tensors, "bias_ih": torch.zeros(3)}, file)
    assert problems(folder) == [
        "9:38 W912 repo/decoder: bias_ih is [3], and [72] would fit\n"
        "    embed [28, 16]\n    hidden rows of 24"
    ]
    save_file({**{k: v for k, v in tensors.items() if k != "head"}, "norm": torch.ones(3)}, file)
    assert problems(folder) == [
        "9:38 W910 repo/decoder has no tensor head",
        "9:38 W911 repo/decoder has norm, which nothing reads",
    ]


def test_a_clip_that_is_too_short(folder):
    with (
        composer.load(folder) as bundle,
        pytest.raises(composer.ComposerError, match=r"R910 .* 300"),
    ):
        bundle.run(audio=(CLIP[:300], 16_000))
