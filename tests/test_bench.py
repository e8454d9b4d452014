"""Measuring a bundle; no time is asserted."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from composer import BundleOptions, ComposerError
from composer.benchmarking import benchmark_child
from composer.benchmarking import measure as measuring
from composer.benchmarking.benchmark_child import BenchmarkCase, BenchmarkSession, peak_memory
from composer.benchmarking.measure import BundleTimings, RunCounts, measure
from composer.benchmarking.process import BundleProcess, RunTiming, StartTiming
from composer.benchmarking.report import differing_outputs, report_json, report_text, timing_ratios
from composer.benchmarking.spread import ratio_spread, spread_of
from tests.fakes import write

MELS = """\
composer: 1
name: mels
components: {features: {use: audio.log_mel, config: {mels: 8, min_samples: 400}}}
inputs: {audio: audio}
graph: {mel: {run: features, with: {audio: $audio}}}
outputs: {mel: $mel}
"""
PEAK = """
from composer.benchmarking.benchmark_child import peak_memory
data = b"x" * 60_000_000
assert 60e6 < peak_memory() < 200e6, peak_memory()
"""


def run(seconds=2.0, text="yes", first=0.5, rate=10.0, **nodes):
    outputs = {"text": text}
    return RunTiming(seconds, first, rate, nodes or {"answer": 1.5}, 3, "stop", outputs, 40_000_000)


def start(load=1.0, of=None):
    return StartTiming(0.1, 0.2, load, {"echo": load / 2}, 30_000_000, of or run())


@pytest.fixture
def given(tmp_path):
    """Write a clip of 8 frames and return the inputs of a run."""
    soundfile.write(tmp_path / "clip.wav", np.arange(1, 9) / 327.68, 8000)
    return {"audio": str(tmp_path / "clip.wav")}


def test_a_session_runs_and_reports_each_part(fakes, tmp_path, given):
    session = BenchmarkSession(BenchmarkCase(BundleOptions(str(write(tmp_path))), inputs=given))
    assert set(session.startup) == {"check", "load", "components"}
    assert set(session.startup["components"]) == {"frames", "widen", "ask", "echo"}
    answer = session.run()
    assert answer["outputs"] == {"text": "7."}
    assert (answer["tokens"], answer["finish"]) == (2, "stop")
    assert list(answer["nodes"]) == ["mel", "soft", "asked", "words", "embeds", "answer"]
    assert 0 < answer["first"] <= answer["seconds"]
    assert answer["rate"] > 0


def test_the_first_text_and_the_tokens_after_it_are_timed(fakes, tmp_path, given, monkeypatch):
    """The clock is read when a run begins, at each of its two texts, and at its end."""
    session = BenchmarkSession(BenchmarkCase(BundleOptions(str(write(tmp_path))), inputs=given))
    clock = iter([100.0, 105.0, 105.5, 109.0])
    monkeypatch.setattr(benchmark_child, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    answer = session.run()
    assert answer["tokens"] == 2
    assert (answer["first"], answer["seconds"]) == (5.0, 9.0)
    assert answer["rate"] == 2.0  # one token in the half second after the first


def test_options_and_an_output_that_is_no_text(fakes, tmp_path, given):
    path = write(tmp_path)
    path.write_text(path.read_text().replace("outputs: {", "outputs: {soft: $soft, "))
    answer = BenchmarkSession(
        BenchmarkCase(BundleOptions(str(path)), inputs=given, options={"answer": {"max_tokens": 1}})
    ).run()
    assert (answer["tokens"], answer["rate"]) == (1, None)
    assert answer["outputs"]["soft"].startswith("float32 [4, 4] sha256:")
    again = BenchmarkSession(BenchmarkCase(BundleOptions(str(path)), inputs=given)).run()
    assert again["outputs"]["soft"] == answer["outputs"]["soft"]


def test_the_peak_of_a_child_is_its_own():
    subprocess.run([sys.executable, "-c", PEAK], check=True)
    assert peak_memory() > 10_000_000


def test_a_process_starts_runs_and_ends(tmp_path, given):
    path = tmp_path / "bundle.yaml"
    path.write_text(MELS)
    process = BundleProcess(BenchmarkCase(BundleOptions(str(path)), inputs=given))
    assert process.start.seconds > process.start.python > 0
    assert process.start.first == process.start.run.seconds  # nothing streams
    again = process.run()
    assert again.outputs == process.start.run.outputs
    assert again.first is None
    assert again.peak >= process.start.loaded
    os.kill(process._child.pid, signal.SIGKILL)
    with pytest.raises(ComposerError) as error_text:
        process.run()
    process.close()
    assert [p.code for p in error_text.value.problems] == ["R586"]
    assert str(error_text.value) == (
        f"R586 the process that measures {path} ended early (signal 9)\n"
        "    hint: too little memory ends one with signal 9; a smaller variant needs less"
    )


def test_what_a_process_refuses_is_reported_as_it_is(tmp_path):
    path = tmp_path / "bundle.yaml"
    path.write_text(MELS)
    with pytest.raises(ComposerError) as error_text:
        BundleProcess(BenchmarkCase(BundleOptions(str(path))))
    assert str(error_text.value).startswith("R541 input 'audio' (audio) is not given")
    path.write_text(MELS.replace("mels: 8", "mells: 8"))
    with pytest.raises(ComposerError) as error_text:
        BundleProcess(BenchmarkCase(BundleOptions(str(path))))
    assert error_text.value.problems[0].place.line == 3


def test_turns_go_forth_and_back_and_the_first_do_not_count(monkeypatch):
    called = []

    class Fake:
        def __init__(self, case):
            self.name = case.bundle.name
            self.start = start(len(called))
            called.append(f"open {self.name}")

        def run(self):
            called.append(f"run {self.name}")
            return run(len(called))

        def close(self):
            called.append(f"close {self.name}")

    monkeypatch.setattr(measuring, "BundleProcess", Fake)
    (a, b) = measure(
        [BenchmarkCase(BundleOptions("a")), BenchmarkCase(BundleOptions("b"))],
        RunCounts(starts=1, runs=2, warmup=1),
    )
    assert called == [
        "open a", "open b", "close b", "open b", "close a", "open a",
        "run a", "run b", "run b", "run a", "run a", "run b",
        "close b", "close a",
    ]  # fmt: skip
    assert [each.load for each in a[0]] == [5]
    assert [each.seconds for each in a[1]] == [10, 11]
    assert [each.seconds for each in b[1]] == [9, 12]


def test_a_process_that_fails_leaves_none_behind(monkeypatch):
    closed = []

    class Fake:
        def __init__(self, case):
            if case.bundle.name == "b":
                raise ComposerError([])
            self.start = start()

        def close(self):
            closed.append(self)

    monkeypatch.setattr(measuring, "BundleProcess", Fake)
    with pytest.raises(ComposerError):
        measure([BenchmarkCase(BundleOptions("a")), BenchmarkCase(BundleOptions("b"))], RunCounts())
    assert len(closed) == 1


def test_spread():
    assert spread_of([3.0]).low == spread_of([3.0]).high == 3.0
    found = spread_of([4.0, 1.0, 2.0, 3.0, 5.0])
    assert (found.low, found.median, found.high) == (2.0, 3.0, 4.0)
    assert ratio_spread([2.0, 9.0], [1.0, 3.0]).values == (2.0, 3.0)
    assert ratio_spread([1.0], [0.0]) is None


def test_figures():
    measured = BundleTimings("mine", [start()], [run(2.0), run(4.0)], audio=8.0)
    found = measured.figures()
    assert found["start"] == [pytest.approx(0.1 + 0.2 + 1.0 + 0.5)]
    assert found["start load echo"] == [0.5]
    assert found["run rest"] == [0.5, 2.5]
    assert found["real-time factor"] == [0.25, 0.5]
    assert found["tokens/s"] == [10.0, 10.0]
    silent = BundleTimings("mine", [start()], [run(first=None, rate=None)]).figures()
    assert not {"first token", "tokens/s", "real-time factor"} & silent.keys()


def test_the_table_of_one():
    text = report_text(
        [BundleTimings("mine", [start()], [run(2.0), run(4.0)], 8.0)], RunCounts(1, 2)
    )
    assert text.splitlines() == [
        "starts: 1, runs: 2, before them without counting: 1 of each; 8.00 s of audio; medians "
        "(quartiles)",
        "",
        "                  mine",
        "cold start        1.8 s",
        "  python          100 ms",
        "  check           200 ms",
        "  load            1 s",
        "    echo          500 ms",
        "  first output    500 ms",
        "run               3 s (2.5 to 3.5)",
        "  answer          1.5 s (1.5 to 1.5)",
        "  rest            1.5 s (1 to 2)",
        "first token       500 ms (500 to 500)",
        "tokens/s          10 (10 to 10)",
        "real-time factor  0.375 (0.312 to 0.438)",
        "peak loaded       30 MB",
        "peak first run    40 MB",
        "peak all runs     40 MB",
        "",
        "3 tokens, ended by stop; outputs the same in every run",
    ]


def test_two_are_reported_by_their_ratios_and_their_outputs():
    one = BundleTimings("one", [start()], [run(2.0), run(4.0)])
    other = BundleTimings("two", [start()], [run(6.0), run(4.0)])
    assert timing_ratios(one, other)["run"].values == (3.0, 1.0)
    text = report_text([one, other], RunCounts(1, 2)).splitlines()
    assert text[2].split() == ["one", "two", "ratio"]
    assert next(line for line in text if line.startswith("run")).endswith("2.00 (1.50 to 2.50)")
    assert text[-1] == "the same outputs"
    assert report_json([one, other], RunCounts(1, 2), {})["same_outputs"] is True


def test_other_outputs_are_never_kept_quiet():
    one, other = (
        BundleTimings("one", [start()], [run()]),
        BundleTimings("two", [start()], [run(text="no")]),
    )
    assert not other.steady
    odd = BundleTimings("two", [start(of=run(text="no"))], [run(text="no")])
    assert differing_outputs(one, odd) == ["text"]
    text = report_text([one, odd], RunCounts(1, 1)).splitlines()
    assert text[-3:] == ["the outputs DIFFER: text", "  one: yes", "  two: no"]
    assert "outputs NOT the same in every run" in report_text([other], RunCounts(1, 1))
    assert report_json([one, odd], RunCounts(1, 1), {})["same_outputs"] is False
