"""Values that are not what an input takes: refused with what they are, never converted."""

import mlx.core as mx
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import composer
from composer.core.errors import ComposerError

MANIFEST = """
composer: 1
name: given
components: {mels: {use: audio.log_mel, config: {mels: 80, rate: 16000}}}
inputs:
  audio: audio
  x: {type: tensor, port: f32 T 2}
  h: {type: tensor, port: f16 T}
  k: {type: tensor, port: i64 T}
  i: ids
graph:
  mel: {run: mels, with: {audio: $audio}}
outputs: {mel: $mel, x: $x, h: $h, k: $k, i: $i}
"""
TONE = np.sin(np.arange(8000) * 0.05).astype(np.float32) * 0.3
X = np.arange(4, dtype=np.float32).reshape(2, 2)
GOOD = {"audio": (TONE, 16000), "x": X, "h": [1.0], "k": [1], "i": [1]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    (folder / "bundle.yaml").write_text(MANIFEST)
    with composer.load(folder) as loaded:
        yield loaded


def refusal(bundle, **values):
    with pytest.raises(ComposerError) as caught:
        bundle.run(**GOOD | values)
    return str(caught.value)


def sound(samples, rate=16000):
    return composer.Audio(samples, rate, "mine")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": X > 1}, "R542 'x' needs 'f32 T 2', not bool [2, 2]\n    hint: a mask is no number"),
        ({"x": [[True, False]]}, "R542 'x' needs 'f32 T 2', not bool [1, 2]"),
        ({"i": [True]}, "R542 'i' needs 'i64 T', not bool [1]"),
        ({"k": np.array([True])}, "R542 'k' needs 'i64 T', not bool [1]"),
        ({"x": np.ma.masked_greater(X, 1)}, "R542 'x' needs 'f32 T 2', and 2 numbers are masked"),
        ({"x": X.astype(float) * 1e300}, "'f32 T 2', which cannot hold 0.0 to 3e+300"),
        ({"h": [7e4]}, "R542 'h' needs 'f16 T', which cannot hold 70000.0"),
        ({"h": np.array([1, -1e5], np.float32)}, "which cannot hold -100000.0 to 1.0"),
        ({"x": torch.ones(2, 2).bfloat16()}, "'f32 T 2', and this Tensor is no array: "),
        ({"x": torch.ones(2, 2, requires_grad=True)}, "this Tensor is no array: Can't call numpy"),
        ({"x": mx.ones((2, 2), mx.bfloat16)}, "R542 'x' needs 'f32 T 2', and this array is no"),
        ({"x": [[1, 2], [3]]}, "R542 'x' needs 'f32 T 2', but its rows are of different lengths"),
        ({"feed": [1]}, "R544 feed is list; expected a mapping by name"),
        ({"options": "mel"}, "R544 options is str; expected a mapping by name"),
        ({"audio": (np.ma.masked_greater(TONE, 0.1), 16000)}, "S481 3"),
        ({"audio": sound(TONE * np.nan)}, "mine: S484 sample 0 (0.000 s) is not a finite number"),
        ({"audio": sound((TONE * 32767).astype(np.int16))}, "S481 samples of int16 [8000] are no"),
        ({"audio": sound(TONE[:, None])}, "mine: S481 samples of float32 [8000, 1] are no wave"),
        ({"audio": sound(np.stack([TONE, -TONE]))}, "S481 samples of float32 [2, 8000] are no"),
        ({"audio": sound(TONE.tolist())}, "mine: S481 samples of list [] are no waveform"),
        ({"audio": sound(torch.tensor(TONE))}, "mine: S481 samples of Tensor [8000] are no wave"),
        ({"audio": sound(TONE[:0])}, "mine: S482 there are no samples in it"),
        ({"audio": sound(TONE, 0)}, "mine: S485 the sample rate is 0 Hz"),
        ({"audio": sound(TONE, 16)}, "mine: S485 the sample rate is 16 Hz"),
        ({"audio": sound(TONE, True)}, "mine: S485 the sample rate is True, not a whole number"),
        ({"audio": sound(TONE, 16000.5)}, "mine: S485 the sample rate is 16000.5, not a whole"),
    ],
)
def test_it_is_refused(bundle, values, message):
    assert message in refusal(bundle, **values)


@pytest.mark.parametrize(
    "same",
    [
        X.astype(np.float64), X.astype(">f4"), np.asfortranarray(X),
        np.repeat(X, 2, axis=1)[:, ::2],
        X.tolist(), torch.tensor(X), mx.array(X), np.ma.masked_array(X), X[::-1][::-1],
    ],
)  # fmt: skip
def test_however_it_is_stored_it_is_the_same(bundle, same):
    found = bundle.run(**GOOD | {"x": same}).outputs["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, X)


def test_infinity_as_given_is_noted_and_not_an_overflow(bundle):
    result = bundle.run(**GOOD | {"x": X.astype(float) - np.array([np.inf, 0])})
    assert result.notes == ("the output x has 2 numbers that are NaN or infinite, as given",)


def test_samples_of_integers_are_those_of_floats(bundle):
    floats = bundle.run(**GOOD).outputs["mel"]
    whole = (TONE.astype(float) * 2**31).astype(np.int32)
    np.testing.assert_allclose(
        bundle.run(**GOOD | {"audio": (whole, 16000)}).outputs["mel"], floats, atol=1e-5
    )
    np.testing.assert_array_equal(
        bundle.run(**GOOD | {"audio": sound(TONE)}).outputs["mel"], floats
    )


def test_only_takes_a_name_as_taps_do(bundle):
    assert bundle.run(**GOOD, only="mel").outputs.keys() >= {"mel"}


ROWS = """
composer: 1
name: rows
sources: {repo: ./}
components:
  projector: {use: numpy.stack, weights: repo/projector, config: {layers: [linear]}}
inputs: {x: {type: tensor, port: f32 T 4}}
graph: {y: {run: projector, with: {x: $x}}}
outputs: {y: $y}
"""


def test_a_component_that_gives_zeros_alone_is_noted(tmp_path):
    (tmp_path / "projector").mkdir()
    (tmp_path / "bundle.yaml").write_text(ROWS)
    for scale, notes in ((1, ()), (0, ("$y is all zeros: ",))):
        weights = {"0.weight": np.full((3, 4), scale, np.float32)}
        save_file(weights, tmp_path / "projector" / "model.safetensors")
        with composer.load(tmp_path) as bundle:
            found = bundle.run(x=np.ones((2, 4), np.float32)).notes
        assert len(found) == len(notes)
        assert all(map(str.startswith, found, notes))
