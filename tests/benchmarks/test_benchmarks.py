"""The pieces of the benchmarks; no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import __main__, log_mel, onnx_decode, real_size, startup, timing, weights
from composer.core.location import Location
from composer.formats import Headers
from composer.formats.audio.reading import read_audio

TINY = weights.Sizes(1, 64, 1, 64, 128, 2, 1, 64, 300, (8, 4))


def test_turns_go_forth_and_back_and_the_first_does_not_count() -> None:
    called: list[str] = []
    ways = {"a": lambda: called.append("a"), "b": lambda: called.append("b")}
    spent = timing.in_turns(ways, 2)
    assert called == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(times) for name, times in spent.items()} == {"a": 2, "b": 2}


def test_ratios_are_taken_within_each_turn() -> None:
    spent = {"fast": [1.0, 2.0, 9.0], "slow": [2.0, 4.0, 9.0]}
    assert timing.ratio(spent, "slow", "fast") == 2.0
    assert timing.table(spent, "fast").splitlines() == [
        "fast    2000.00 ms",
        "slow    4000.00 ms   2.000 x (1.000 to 2.000)",
    ]


def test_the_features_that_are_timed_have_whispers_shape() -> None:
    assert log_mel.ours()(log_mel.noise(0.5)).shape == (128, 50)


def test_imports_are_counted_beyond_bare_python() -> None:
    count, heavy = startup.imported(["-c", "import yaml"])
    assert count > 5
    assert heavy == ["yaml"]
    assert startup.imported(["-c", "pass"]) == (0, [])


@pytest.mark.parametrize("bits", [(8, 4), None])
def test_a_decoder_is_written_as_mlx_lm_reads_it(
    bits: tuple[int, int] | None, tmp_path: Path
) -> None:
    import mlx.core as mx
    from mlx_lm.utils import load_model

    weights.write_decoder(tmp_path / "mlx", replace(TINY, bits=bits))
    model, config = load_model(tmp_path / "mlx", strict=True)
    assert ("quantization" in config) == bool(bits)
    logits = model(mx.array([[1, 2, 3]])).astype(mx.float32)
    assert 0.1 < float(mx.std(logits).item()) < 10


def test_onnx_runtime_and_mlx_decode_the_same_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx_decode.compare(onnx_decode.write(tmp_path, TINY), 4, 3, 1)
    printed = capsys.readouterr().out
    assert "composer mlx.lm, float32: 3 of 3 ids are those of composer onnx.lm\n" in printed


def test_real_sizes_are_mega_asrs() -> None:
    params = sum(outputs * inputs for _, outputs, inputs, _ in weights.MEGA.matrices())
    assert params == 1_409_286_144
    assert len(list(weights.MEGA.matrices())) == 196
    assert weights.MEGA.audio_config["output_dim"] == 2048


def test_a_bundle_is_written_whole(tmp_path: Path) -> None:
    import composer

    manifest = weights.write_bundle(tmp_path, TINY, "tiny", "random weights")
    report = composer.check(manifest)
    assert not report.problems
    tensors = Headers().safetensors(Location("repo", "mlx", tmp_path / "weights"))
    assert tensors["model.layers.0.mlp.up_proj.weight"].dtype == "u32"


def test_a_process_is_measured() -> None:
    code = """
from benchmarks.real_size import run_measured
line, told, peak = run_measured("it", ["-c", "print(len(b'x' * 60_000_000))"])
assert told == "60000000\\n" and line.startswith("it: "), (line, told)
assert 60e6 < peak < 200e6, peak
"""
    subprocess.run([sys.executable, "-c", code], check=True)  # this process has a peak of its own


def test_a_process_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="it failed"):
        real_size.run_measured("it", ["-c", "raise SystemExit(1)"])


RUN = {
    "bytes": {"encoder": 1e9, "prompt": 0},
    "load": 1.0,
    "load_seconds": {"encoder": 1.0},
    "peak_load": 1.2e9,
    "run": 2.0,
    "timings": {"soft": 1.5},
    "tokens": 8,
}


def test_a_run_is_compared_with_its_weights(capsys: pytest.CaptureFixture[str]) -> None:
    for peak, verdict in ((1_450_000_000, "within"), (1_451_000_000, "ABOVE")):
        real_size.report(RUN, peak)
        assert f"= 1.45 of 1.00 GB of weights, {verdict} 1.45 GB" in capsys.readouterr().out


@pytest.mark.parametrize(("length", "factor"), [(10.0, "real-time factor 0.20, "), (None, "")])
def test_a_clip_has_a_real_time_factor_and_a_picture_none(
    capsys: pytest.CaptureFixture[str], length: float | None, factor: str
) -> None:
    step = ["-c", f"print({json.dumps(RUN)!r})"]
    found, peak = real_size.measure_run("it", step, length)
    assert (found, peak > 0) == (RUN, True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("it: ")
    assert lines[1:] == [
        "  weights, GB: encoder 1.00",
        "  load 1.0 s; encoder 1.00",
        "  run 2.0 s, 8 tokens; soft 1.50",
        f"  {factor}outside nodes 25.00%",
    ]


def test_noise_is_audio_of_its_length(tmp_path: Path) -> None:
    real_size.write_noise(tmp_path / "noise.wav", 0.5)
    assert read_audio(tmp_path / "noise.wav").seconds == 0.5


def test_measuring_imports_no_array_library() -> None:
    assert startup.imported(["-c", "import benchmarks.real_size"])[1] == []


def test_an_unknown_benchmark_is_refused() -> None:
    with pytest.raises(SystemExit, match="usage: scripts/bench"):
        __main__.main(["nonsense"])


@pytest.mark.parametrize("name", __main__.ALL)
def test_every_benchmark_can_be_started(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        __main__.main([name, "--help"])
    assert ended.value.code == 0
    assert f"scripts/bench {name}" in capsys.readouterr().out
