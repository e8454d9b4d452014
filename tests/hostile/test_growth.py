"""What a manifest multiplies in its graph is bounded before it is made."""

import os
import tracemalloc

import numpy as np
import pytest

import composer
from composer.components.audio.waveform import Waveform
from composer.core.errors import ComposerError
from composer.core.safe_write import write_whole
from composer.formats.audio.resampling import resample
from composer.formats.audio.waveform import Audio
from tests.formats.onnx_models import model
from tests.formats.test_tokenizer import tokenizer
from tests.hostile.costly.media import PIXELS, png
from tests.hostile.making import HEAD, ONNX, PROMPT, bundle
from tests.hostile.test_onnx import FILE, fed

INPUT = "inputs: {x: {type: tensor, port: f32 N 4}}\ngraph:\n"


def doubled(times):
    """Return a graph whose rows are joined to themselves again and again."""
    lines = ["  d0: {run: concat, with: {values: [$x, $x]}}"]
    for n in range(1, times):
        lines.append(f"  d{n}: {{run: concat, with: {{values: [$d{n - 1}, $d{n - 1}]}}}}")
    return graph(lines, f"d{times - 1}")


def graph(lines, output):
    text = "\n".join(lines)
    return f"{HEAD}components: {{}}\n{INPUT}{text}\noutputs: {{y: ${output}}}\n"


@pytest.fixture
def error_of(cli, tmp_path):
    """Run a manifest over rows of four, and return the words of its refusal."""

    def call(text, *more, **files):
        code, out, err = cli(*fed(bundle(tmp_path, text, files)), *more)
        assert (code, out) == (5, ""), err
        return err

    return call


def test_rows_joined_to_themselves_are_checked_at_once(tmp_path):
    """The check names the values whose rows each value has: 2^60 of them here."""
    folder = bundle(tmp_path, doubled(60), {})
    composer.check(folder)
    tracemalloc.start()
    assert composer.check(folder).ok
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_rows_joined_to_themselves_are_bounded(error_of, monkeypatch):
    monkeypatch.setattr("composer.core.sizes.MOST_NUMBERS", 1000)
    err = error_of(doubled(60))
    assert "R558 the rows together would be 256 x 4, over 1000 numbers" in err
    assert "at node 'd6' (concat)" in err


def test_rows_that_are_filled_up_are_bounded(error_of):
    """10 000 rows of 40 000 numbers, out of one of these."""
    lines = [
        "  a: {run: stack_frames, with: {x: $x, by: 10000, remainder: pad}}",
        "  b: {run: stack_frames, with: {x: $a, by: 10000, remainder: pad}}",
    ]
    assert "R558 the rows with what fills them up would be 10000 x 40000, " in error_of(
        graph(lines, "b")
    )


def test_all_values_together_are_bounded_where_nobody_vouches(error_of, cli, tmp_path, monkeypatch):
    monkeypatch.setattr("composer.runtime.bundle.MEMORY", 1000)
    err = error_of(doubled(6))
    assert "R558 the values of the run take 1.54e-06 GB; the limit is 1e-06" in err
    assert cli(*fed(bundle(tmp_path, doubled(6), {})), "--trust")[0] == 0


def test_frames_are_padded_within_bounds(error_of, monkeypatch):
    monkeypatch.setattr("composer.core.sizes.MOST_NUMBERS", 10**7)
    pad = "{x: {layout: F D, pad: {fixed: 10000000}}}"
    text = ONNX.replace("batch: none", f"batch: none, inputs: {pad}")
    err = error_of(text, **{FILE: model().SerializeToString()})
    assert "padded, would be 10000000 x 4, over 10000000 numbers" in err


def test_patches_of_a_thin_picture_are_bounded(cli, tmp_path):
    wide = "image.gemma4, config: {max_soft_tokens: 1120, patch_size: 256}"
    text = PIXELS.replace("image.pixels, config: {size: {height: 64, width: 64}}", wide)
    assert text != PIXELS
    folder = bundle(tmp_path, text, {"thin.png": png(65_535, 1)})
    code, _, err = cli("run", folder, "-i", f"image={folder / 'thin.png'}")
    assert code == 5
    assert "R558 the pixels would be 768 x 860160 x 3, over 268435456 numbers" in err


def test_a_rate_a_hundred_times_as_high_is_bounded():
    samples = np.broadcast_to(np.float32(0), 2**23)
    with pytest.raises(ComposerError, match=r"would have 805306368 samples at 384000 Hz; the limi"):
        resample(samples, 4_000, 384_000)


def test_normalizing_takes_no_more_than_its_samples():
    samples = np.random.default_rng(1).normal(0.1, 0.2, 4_000_000).astype(np.float32)
    component = Waveform(Waveform.Config(normalize=True))
    tracemalloc.start()
    made = component(Audio(samples, 16_000, "clip"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * samples.nbytes
    wide = samples.astype(np.float64)
    wanted = (wide - wide.mean()) / np.sqrt(wide.var() + 1e-7)
    np.testing.assert_allclose(made, wanted, rtol=0, atol=3e-7)


def test_a_lock_is_not_written_into_a_pipe(cli, tmp_path, hub_home):
    """Nobody reads it, and nobody would."""
    folder = bundle(tmp_path, PROMPT, {"tokenizer/tokenizer.json": tokenizer()})
    os.mkfifo(folder / "bundle.lock")
    code, out, err = cli("lock", folder)
    assert (code, out) == (5, "")
    assert "bundle.lock: R507 cannot write" in err


def test_a_pipe_that_is_read_is_written(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"whole")
    assert os.read(reader, 9) == b"whole"
    os.close(reader)
