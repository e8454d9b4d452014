"""The guide to components is enough to write them: its package installs, and its bundles run."""

import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import composer
from composer.core.backend import Backend
from composer.core.component import Component, Facts, Spec
from composer.core.errors import Problem
from composer.core.location import Location
from composer.formats import Headers
from composer.formats.audio.waveform import Audio
from composer.generation.engine import Decoder, Request
from composer.generation.sampler import Sampling
from composer.generation.stop import StopRules
from composer.manifest.schema import bundle_schema, schema_text
from tests.installed import installed

GUIDE = (Path(__file__).parent.parent / "docs" / "guides" / "components.md").read_text()
CLIP = (np.sin(np.arange(16000) / 20).astype(np.float32), 16000)
WORDS = ["<end>", "once", "upon", "a", "time"]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install the package that the guide's project table and Python make."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "example_package.py").write_text("\n".join(blocks("python")))
    (project,) = blocks("toml")
    with installed(project, site, monkeypatch):
        yield


@pytest.fixture
def bundle(package, tmp_path):
    """Write one of the guide's manifests by its name."""

    def write(name):
        (text,) = (each for each in blocks("yaml") if f"name: {name}\n" in each)
        path = tmp_path / "bundle.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def bigram(tmp_path):
    """Write a model in which each word is followed by the next, and the last by the end."""
    folder = tmp_path / "bigram"
    folder.mkdir()
    table = np.eye(len(WORDS), dtype=np.float32)
    save_file({"embed": table, "head": np.roll(table, 1, axis=0)}, folder / "model.safetensors")
    vocab = {word: number for number, word in enumerate(WORDS)}
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": "<end>"}
    added = {"id": 0, "content": "<end>", "special": True, "normalized": False}
    added |= dict.fromkeys(("lstrip", "rstrip", "single_word"), False)
    tokenizer = {"version": "1.0", "added_tokens": [added], "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def test_the_smallest_component(bundle):
    path = bundle("louder")
    assert not composer.check(path).problems
    with composer.load(path) as loaded:
        result = loaded.run(audio=CLIP, taps=["mel"])
    expected = result.taps["mel"] * np.float32(10 ** (6 / 20))
    np.testing.assert_allclose(result.outputs["loud"], expected, rtol=1e-6)


def test_a_feature_extractor_and_an_operator(bundle):
    path = bundle("fewer")
    assert not composer.check(path).problems
    with composer.load(path) as loaded:
        result = loaded.run(audio=CLIP, taps=["each"])
        with pytest.raises(
            composer.ComposerError, match=r"R900 .* has 150 samples, and a frame 200"
        ):
            loaded.run(audio=(CLIP[0][:300], 16000))
    samples = composer.read_audio(CLIP).resample(8000).samples
    starts = range(0, len(samples) - 200 + 1, 80)
    expected = [[np.log(np.square(samples[at : at + 200]).sum() + 1e-10)] for at in starts]
    np.testing.assert_allclose(result.taps["each"], expected, rtol=1e-5)
    np.testing.assert_array_equal(result.outputs["some"], result.taps["each"][::10])


def test_a_setting_that_cannot_be_is_shown_in_the_manifest(bundle):
    path = bundle("fewer")
    path.write_text(path.read_text().replace("hop: 80", "hop: 800"))
    (problem,) = composer.check(path).problems
    line = path.read_text().splitlines()[problem.place.line - 1]
    assert problem.code == "W900"
    assert line[problem.place.column - 1 :].startswith("800")


def test_a_decoder(bundle, bigram):
    path = bundle("reciter")
    assert not composer.check(path).problems
    with composer.load(path) as loaded:
        result = loaded.run(ids=[1])
        assert (result.text, result.finish_reason) == ("upon a time", "stop")
        assert "".join(loaded.stream(ids=[2])) == "a time"
        short = loaded.run(ids=[1], options={"answer": {"max_tokens": 2}})
        assert (short.text, short.finish_reason) == ("upon a", "length")


def test_a_decoder_with_every_option(bundle, bigram):
    path = bundle("reciter")
    path.write_text(path.read_text().replace("example.bigram", "example.reciter"))
    with composer.load(path) as loaded:
        result = loaded.run(ids=[1], options={"answer": {"stop_text": [" time"], "logprobs": True}})
        assert (result.text, result.finish_reason) == ("upon a", "stop")
        assert loaded.run(ids=[1], options={"answer": {"stop": ["a"]}}).text == "upon"
        with pytest.raises(composer.ComposerError, match="R516 stop 'b' is not a token"):
            loaded.run(ids=[1], options={"answer": {"stop": ["b"]}})
    path.write_text(path.read_text().replace("max_tokens: 8", "max_tokens: 8, top_k: 3"))
    (problem,) = composer.check(path).problems
    assert problem.message == "top_k 3 has no effect at temperature 0, which is greedy"


def test_the_cause_of_a_failure_has_its_own_traceback(bundle, bigram, monkeypatch):
    path = bundle("reciter")
    with composer.load(path) as loaded, pytest.raises(composer.ComposerError) as caught:
        loaded.run(ids=[99])
    assert "R500" in str(caught.value)
    assert isinstance(caught.value.__cause__, IndexError)
    assert caught.traceback
    last = caught.value.__cause__.__traceback__
    while last.tb_next:
        last = last.tb_next
    assert last.tb_frame.f_code.co_filename.endswith("example_package.py")


def test_files_that_do_not_fit_a_decoder(bundle, bigram):
    path = bundle("reciter")
    save_file({"embed": np.eye(5, dtype=np.float32)}, bigram / "model.safetensors")
    (problem,) = composer.check(path).problems
    assert (problem.code, problem.place.line) == ("W901", 5)
    save_file(
        {"embed": np.eye(5, dtype=np.float32), "head": np.ones((5, 4), np.float32)},
        bigram / "model.safetensors",
    )
    (problem,) = composer.check(path).problems
    assert problem.causes == ("embed [5, 5]", "head [5, 4]")


def test_what_the_guide_names_is_there():
    """Every method, attribute and field in its tables exists, and none is left out."""
    named = set(re.findall(r"`([a-z_]+)`", GUIDE)) | set(re.findall(r"[.`]([a-z_]+)\(", GUIDE))
    named |= set(re.findall(r"`spec\.([a-z]+)`", GUIDE))
    named |= set(re.findall(r"`(?:StopRules\()?(\w+), (\w+)", GUIDE)[0])
    public = {name for name in vars(Headers) if not name.startswith("_")}
    assert public - {"safetensors", "gguf", "onnx", "tokenizer", "config", "exists"} == set()
    assert public <= named
    assert set(Spec.__dataclass_fields__) <= named
    assert set(Facts.__dataclass_fields__) <= named
    assert {name for name in vars(Decoder) if name[0] != "_"} <= named
    shown = {"requires", "accepts", "placement_keys", "backend", "facts", "load"}
    assert shown <= named & set(vars(Component))
    assert {"compile"} <= named & set(vars(Backend))
    for kind in (Audio, Location, Problem, Request, Sampling, StopRules):
        assert {each.name for each in fields(kind)} <= named, kind
    assert {"frames", "seconds", "resample"} <= named & set(vars(Audio))


def test_the_schema_and_the_lists_know_what_a_package_adds(package):
    kinds = bundle_schema()["$defs"]["ComponentFields"]["properties"]["use"]["anyOf"]
    assert {"const": "example.gain", "description": "Make features louder."} in kinds
    assert "example.gain" not in schema_text(shipped=True)
    assert "- decibels: float = 0.0, -60 to 60. gain" in composer.explain("example.gain")
    assert composer.explain("every").startswith("# every\n\nKeep every so many rows")
