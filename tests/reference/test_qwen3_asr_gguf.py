"""Qwen3-ASR in llama.cpp's two GGUF files, without a manifest, against transformers."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

import composer
from composer.core.component import ComponentConfig, Spec
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers, headers
from composer.formats.gguf import read_gguf
from composer.sources.resolve import find_bundle
from tests.formats.making import refusal
from tests.models.backends import BACKENDS, family
from tests.reference.qwen3_asr import RATE, TOKENS, Reference, make_clip
from tests.sources import checkpoints

pytestmark = pytest.mark.usefixtures("one_thread")
ENCODERS = "mmproj-Qwen3-ASR-Q8_0.gguf"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen3_asr")
    return folder, Reference(*checkpoints.qwen3_asr_gguf(folder))


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_are_those_of_transformers(written, backend):
    folder, theirs = written
    kind = family("qwen3_asr_audio", backend)
    spec = Spec("encoder", ComponentConfig(), Location("repo", ENCODERS, folder))
    placement = Placement(device="cpu") if backend == "mlx" else Placement()
    encoder = kind.load(spec, kind.facts(spec, Headers()), placement)
    want = theirs.stages(make_clip(3.375))
    mel = want.features[:, : want.frames]
    rows = np.array(encoder(mx.array(mel) if backend == "mlx" else mel))
    np.testing.assert_allclose(rows, want.rows, atol=1e-4)


@pytest.mark.parametrize("backend", ["mlx", "onnx"])
def test_a_folder_transcribes_as_transformers_does(written, backend):
    folder, theirs = written
    assert find_bundle(folder).path.stem == "qwen3-asr-gguf"
    clip = make_clip(3.375)
    want = theirs.stages(clip)
    with composer.load(folder, backends={"*": backend}) as bundle:
        options = {"answer": {"max_tokens": TOKENS}}
        taps = bundle.run(audio=(clip, RATE), taps=True, options=options).taps
    assert taps["asked.ids"].tolist() == want.ids.tolist()
    np.testing.assert_allclose(taps["embeds"], want.embeds, atol=1e-4)
    found = taps["answer.ids"].tolist()
    assert found == want.answer[: len(found)]
    assert len({*found}) > 4


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("clip.audio.n_window", 50, "audio_config.clip.audio.n_window"),
        ("clip.audio.attention.layer_norm_epsilon", 1e-3, "audio_config.clip.audio.attention"),
        ("clip.audio.num_mel_bins", 80, "W272"),
        ("clip.audio.projector_type", "qwen2a", "is a file of encoders of the kind 'qwen2a'"),
    ],
)
def test_it_refuses(key, value, text, written, monkeypatch):
    def changed(location, files=None):
        found = read_gguf(location, files)
        return type(found)(found.metadata | {key: value}, found.tensors)

    monkeypatch.setattr(headers, "read_gguf", changed)
    spec = Spec("encoder", ComponentConfig(), Location("repo", ENCODERS, written[0]))
    assert text in refusal(lambda: family("qwen3_asr_audio", "onnx").facts(spec, Headers()))
