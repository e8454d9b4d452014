"""Measuring through Python alone, with the miniature; no time is asserted."""

import pytest

import composer

FEW = composer.RunCounts(starts=1, runs=2, warmup=0)


def test_a_bundle_is_started_and_run(clips):
    steps = []
    clip, *_ = clips
    found = composer.benchmark(
        "mega-asr-mini", inputs={"audio": clip}, turns=FEW, progress=steps.append
    )
    assert isinstance(found, composer.Benchmark)
    (measured,) = found.measured
    assert (measured.title, found.turns) == ("mega-asr-mini", FEW)
    assert (len(measured.starts), len(measured.runs), measured.steady) == (1, 2, True)
    assert measured.audio == pytest.approx(composer.read_audio(clip).seconds)
    assert measured.outputs["text"] == composer.transcribe("mega-asr-mini", [clip])[0].text
    figures = measured.figures()
    assert {"start", "run", "run answer", "tokens/s", "real-time factor", "peak loaded"} <= set(
        figures
    )
    assert all(value > 0 for value in figures["run"])
    inputs = {"language": "English", "context": "", "audio": clip}
    assert found.made_by[0]["inputs"] == inputs
    assert steps == [
        composer.JobProgress("checking", "mega-asr-mini"),
        *(composer.JobProgress("measuring", "mega-asr-mini", done, 3) for done in range(4)),
    ]


def test_two_editions_are_measured_in_turns():
    other = composer.BundleOptions(
        "mega-asr-mini", backends={"decoder": "mlx"}, precision={"decoder": "bfloat16"}
    )
    found = composer.benchmark("mega-asr-mini", other=other, turns=FEW)
    assert [each.title for each in found.measured] == [
        "mega-asr-mini",
        "mega-asr-mini, decoder=bfloat16",
    ]
    clips = {made["inputs"]["audio"] for made in found.made_by}
    assert len(clips) == 1
    assert clips.pop().endswith("clips/dates-05.flac")


def test_the_process_runs_the_backend_that_is_asked_for():
    from composer.benchmarking.benchmark_child import BenchmarkCase, BenchmarkSession

    options = composer.BundleOptions("mega-asr-mini", backends={"decoder": "mlx"})
    session = BenchmarkSession(BenchmarkCase(options))
    try:
        assert session.bundle.checked.components["decoder"].backend == "mlx"
    finally:
        session.bundle.close()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"task": "sing"}, "R543 the bundle has no task 'sing'"),
        ({"inputs": {"sound": "x.wav"}}, "R540 the bundle has no input 'sound'"),
        ({"options": {"answer": {"top": 3}}}, "R544 cannot set on 'answer' the option 'top'"),
        ({"other": "elderwise-mini", "other_inputs": {}}, "R541 input 'audio' (audio) is not"),
    ],
)
def test_a_wrong_call_starts_nothing(monkeypatch, given, problem):
    monkeypatch.setattr("composer.benchmarking.measure.BundleProcess", None)
    with pytest.raises(composer.ComposerError) as caught:
        composer.benchmark("mega-asr-mini", turns=FEW, **given)
    assert str(caught.value).startswith(problem)
    assert caught.value.exit_code == 2


def test_a_bundle_that_is_not_there():
    with pytest.raises(composer.ComposerError, match="S474"):
        composer.benchmark("mega-asr-min")
