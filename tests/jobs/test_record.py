"""Recording and comparing runs through Python alone, with the miniature."""

from dataclasses import replace

import numpy as np
import pytest

import composer
from composer.jobs.record import with_precision


@pytest.fixture(scope="module")
def clip(clips):
    return next(iter(clips))


@pytest.fixture(scope="module")
def dump(mini, clip):
    return composer.record(mini, {"audio": clip})


def test_every_value_is_recorded_in_graph_order(mini, clip, dump):
    assert isinstance(dump, composer.Dump)
    graph = mini.checked.graphs["default"]
    result = mini.run(audio=clip, taps=["soft", "answer.logprobs"])
    assert result.taps["answer.logprobs"].size == 0  # it is empty, as no option asked for it
    empty = ("answer.logprobs", "answer.text_ends")
    names = [name for name in graph.values if name not in empty]
    assert list(dump.stages) == [*names, "answer_steps"]
    np.testing.assert_array_equal(dump.stages["soft"].value, result.taps["soft"])
    assert len(dump.stages["answer_steps"].value) == result.tokens
    assert dump.about["task"] == "default"


def test_the_bundle_is_left_as_it_was(mini, dump):
    assert "answer_steps" not in mini.checked.graphs["default"].values


def test_a_dump_is_a_file(dump, tmp_path):
    path = tmp_path / "reference.safetensors"
    path.write_bytes(dump.pack())
    again = composer.read_dump(path)
    assert (list(again.stages), again.about) == (list(dump.stages), dump.about)


def test_progress_is_reported(mini, clip):
    steps = []
    composer.record(mini, {"audio": clip}, progress=steps.append)
    assert [step.stage for step in steps] == ["fetching", "running"]


def test_a_bundle_is_the_same_as_its_dump(mini, dump):
    steps = []
    found = composer.compare(dump, mini, progress=steps.append)
    assert isinstance(found, composer.Comparison)
    assert (found.ok, found.first, found.skipped) == (True, None, ())
    assert [step.stage for step in steps] == ["fetching", "comparing"]


def test_the_first_wrong_stage_is_found(mini, dump):
    stages = dict(dump.stages)
    wrong = stages["soft"].value.copy()
    wrong[0] += 1
    stages["soft"] = replace(stages["soft"], value=wrong)
    found = composer.compare(replace(dump, stages=stages), mini)
    assert (found.ok, found.first.name) == (False, "soft")
    assert composer.compare(dump, replace(dump, stages=stages), skip=["soft"]).ok


def test_a_reference_may_be_a_bundle(mini, clip):
    rounded = composer.BundleOptions("mega-asr-mini", precision={"decoder": "bfloat16"})
    found = composer.compare(rounded, mini, inputs={"audio": clip}, any_float=True)
    assert (found.ok, found.first.name) == (False, "embeds")
    loose = {"inputs": {"audio": clip}, "any_float": True, "tolerance": 0.3}
    assert composer.compare(rounded, mini, **loose, skip=["answer*"]).ok


def test_the_noise_of_another_backend_is_allowed(mini, clip):
    other = composer.BundleOptions("mega-asr-mini", variant="mlx")
    noisy = composer.record(mini, {"audio": clip}, floor=other)
    assert 0 < noisy.stages["answer_steps"].floor.l2 < 1e-4
    assert composer.compare(noisy, other).ok


def test_a_floor_that_changes_nothing_is_refused(mini, clip):
    same = with_precision(composer.BundleOptions("mega-asr-mini"), "float32")
    assert set(same.precision.values()) == {"float32"}
    with pytest.raises(composer.ComposerError) as caught:
        composer.record(mini, {"audio": clip}, floor=same)
    assert str(caught.value).startswith("R546 float32 changes nothing here")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"inputs": {"audio": "x.wav"}}, "R540 the reference is a dump"),
        ({"tolerance": 1.0}, "R542 --tolerance 1 is not from 0"),
        ({"tolerance": float("nan")}, "R542 --tolerance nan is not from 0"),
        ({"task": "chat"}, "R543 the bundle has no task 'chat'"),
        ({"options": {"answer": {"top": 3}}}, "R544 cannot set on 'answer' the option 'top'"),
        ({"skip": ["sofd"]}, "R544 --skip sofd matches no stage; did you mean 'soft'?"),
    ],
)
def test_a_wrong_comparison_is_refused(mini, dump, given, problem):
    with pytest.raises(composer.ComposerError) as caught:
        composer.compare(dump, mini, **given)
    assert str(caught.value).startswith(problem)
    assert caught.value.exit_code == 2


def test_of_two_dumps_nothing_is_run(dump):
    with pytest.raises(composer.ComposerError, match="R544 both are dumps, and nothing is run"):
        composer.compare(dump, dump, task="default")


def test_inputs_that_are_wrong_are_refused(mini):
    with pytest.raises(composer.ComposerError, match="R541 input 'audio'"):
        composer.record(mini, {})


def test_a_file_that_is_no_dump(mini, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(composer.ComposerError, match="R548"):
        composer.compare(tmp_path / "x.safetensors", mini)
