"""The frozen mel filters against librosa, which made them, and transformers."""

import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file

from composer.components.audio import mel_filters

SETTINGS = {
    "slaney-16000-400-64": (16_000, 400, 64, "slaney"),
    "slaney-16000-400-80": (16_000, 400, 80, "slaney"),
    "slaney-16000-400-128": (16_000, 400, 128, "slaney"),
    "htk-16000-512-128": (16_000, 512, 128, "htk"),
}


def test_these_are_frozen():
    assert load_file(mel_filters.TABLES).keys() == SETTINGS.keys()
    assert mel_filters.TABLES.stat().st_size < 400_000


@pytest.mark.parametrize("name", SETTINGS)
def test_a_frozen_table_is_librosas_and_transformers(name):
    from transformers.audio_utils import mel_filter_bank

    rate, n_fft, mels, scale = SETTINGS[name]
    table = mel_filters.mel_filters(rate, n_fft, mels, scale)
    assert table.dtype == np.float32
    assert np.array_equal(table, mel_filters.computed_mel_filters(rate, n_fft, mels, scale))
    norm = "slaney" if scale == "slaney" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = mel_filter_bank(1 + n_fft // 2, mels, 0.0, rate / 2, rate, norm, scale)
    np.testing.assert_allclose(table, theirs.T.astype(np.float32), atol=1e-7)


def test_the_scales_differ():
    slaney = mel_filters.computed_mel_filters(16_000, 512, 128, "slaney")
    htk = mel_filters.mel_filters(16_000, 512, 128, "htk")
    assert slaney.shape == htk.shape == (128, 257)
    assert np.abs(slaney - htk).max() > 0.5


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("rate", [4_000, 22_050, 384_000])
@pytest.mark.parametrize("n_fft", [16, 401, 2048])
def test_other_tables_are_librosas_to_the_last_bit(rate, n_fft, scale):
    from librosa.filters import mel

    norm = None if scale == "htk" else "slaney"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = mel(
            sr=rate, n_fft=n_fft, n_mels=40, htk=scale == "htk", norm=norm, dtype=np.float64
        )
    ours = mel_filters.computed_mel_filters(rate, n_fft, 40, scale)
    assert np.array_equal(ours, theirs.astype(np.float32))
