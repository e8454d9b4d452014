"""What a verdict rests on: each gate alone, the order of the graph, and what was made how."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

import composer
from composer.comparison.compare import Comparison, against_bundle, against_dump
from composer.comparison.decoder_steps import with_steps
from composer.comparison.dump import Dump, Stage, read_dump, stage_of
from composer.comparison.gates import FLOOR_FACTOR, Measures, Tolerance, compare
from composer.comparison.judge import StageJudge
from composer.comparison.report import as_json, junit, table, verdict_line
from composer.comparison.tap import tap
from composer.runtime.provenance_diff import provenance_differences
from tests.comparison.test_mutations import call, method
from tests.comparison.tiny import CLIP, Ask, Encoder, Words


def opened(path):
    bundle = composer.load(path)
    bundle.checked = with_steps(bundle.checked)
    return bundle


@pytest.fixture(scope="module")
def reference(path):
    with opened(path) as bundle:
        return tap(bundle, "default", {"audio": CLIP})


def compared(reference, path, **kwargs):
    with opened(path) as bundle:
        return against_bundle(reference, bundle, "default", **kwargs)


def rows(count, width, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width))


def faults(have, expected, axes=("N", "D"), along=-1, floor=None, **gate):
    """Return the gates that fail, through a verdict on a stage."""
    made = [Stage(each, "f64", axes, along, floor) for each in (have, expected)]
    return [fault.split()[0] for fault in StageJudge(**gate).verdict(*made).faults]


# Each corruption is one that only one gate sees: without it, the stage would pass.


def test_one_number_that_is_off_is_seen_by_its_peak():
    expected = rows(1, 1_000_000)
    have = expected.copy()
    have[0, 77] += 5e-3
    assert faults(have, expected) == ["peak"]


def test_one_faint_row_that_is_reversed_is_seen_by_its_angle():
    expected = rows(10_000, 4)
    expected[123] *= 1e-5
    have = expected.copy()
    have[123] *= -1
    assert faults(have, expected) == ["angle"]
    # And only along the axis that is named: across rows it is next to nothing.
    assert faults(have.T, expected.T, ("D", "N"), 0) == ["angle"]
    assert faults(have.T, expected.T, ("D", "N"), 1) == []


def test_sound_where_the_reference_is_silent_is_seen_by_its_zeros():
    expected = rows(10_000, 4)
    expected[5] = 0
    have = expected.copy()
    have[5, 2] = 5e-4
    assert faults(have, expected) == ["zero"]


def test_a_gain_within_the_noise_of_its_numbers_is_seen_by_its_gain():
    expected = rows(1000, 8)
    noise = Measures(l2=1e-2, peak=1.0, gain=1e-6, angle=1e-2)
    assert faults(expected * 1.003, expected, floor=noise) == ["gain"]


def test_a_floor_allows_four_times_its_noise():
    assert FLOOR_FACTOR == 4
    expected, noise = rows(100, 64), rows(100, 64, 1)
    noise *= np.linalg.norm(expected) / np.linalg.norm(noise)
    measured = Measures(l2=1e-3, peak=1.0, gain=1.0, angle=1.0)
    assert faults(expected + 3.9e-3 * noise, expected, floor=measured) == []
    assert faults(expected + 4.1e-3 * noise, expected, floor=measured) == ["l2"]


def test_a_relative_error_says_what_each_gate_allows():
    allowed = Tolerance.scaled(1e-3)
    assert (allowed.l2, allowed.peak, allowed.gain, allowed.zero) == (1e-3, 1e-2, 1e-3, 1e-3)
    assert allowed.angle == pytest.approx(1e-4)


def test_no_noise_lets_zeros_pass():
    expected = rows(50, 8)
    noise = Measures(l2=1e9, peak=1e9, gain=1e9, angle=1e9, zero=1e9)
    assert {"l2", "gain"} <= set(faults(np.zeros_like(expected), expected, floor=noise))


def test_the_same_bytes_pass_without_any_tolerance():
    expected = rows(500, 7)
    assert faults(expected.copy(), expected, tolerance=Tolerance.scaled(0)) == []
    assert faults(np.nextafter(expected, 9), expected, tolerance=Tolerance.scaled(0)) != []


def test_long_texts_are_shown_where_they_part():
    messages = "friday the nineteenth of october twenty fifteen at eleven"
    (fault,) = compare(f"{messages} ", messages).faults
    assert fault == ("'...ty fifteen at eleven ', not '...ty fifteen at eleven' at character 58")
    (fault,) = compare(messages.replace("october", "October"), messages).faults
    assert fault.startswith("'...y the nineteenth of October twenty")
    assert compare("a", "b").faults == ("'a', not 'b'",)


# Where it begins


def test_a_stage_whose_input_the_reference_lacks_is_still_the_first(path, reference, monkeypatch):
    method(Encoder, "__call__", lambda made: made * np.float32(3))(monkeypatch)
    method(Words, "side", lambda made: made * np.float32(1.01))(monkeypatch)
    fewer = {name: each for name, each in reference.stages.items() if name != "frames"}
    found = compared(replace(reference, stages=fewer), path, skip=["frames"])
    assert found.first.name == "soft"
    assert found.first.fed is None
    assert verdict_line(found).endswith("the first is soft, with nothing wrong before it")


def test_the_order_is_that_of_the_graph(path, reference, monkeypatch):
    call(Encoder, "__call__", lambda true, self, mel: true(self, mel) * np.float32(3))(monkeypatch)
    method(Words, "side", lambda made: made * np.float32(1.01))(monkeypatch)
    backwards = dict(reversed(reference.stages.items()))
    found = compared(replace(reference, stages=backwards), path)
    assert [row.name for row in found.rows] == list(reference.stages)
    assert found.first.name == "soft"


def test_a_stage_that_the_bundle_has_no_more_is_a_fault(path, reference):
    more = {**reference.stages, "lost": Stage(np.zeros(3), "f64", ("N",))}
    found = compared(replace(reference, stages=more), path)
    assert not found.ok
    assert found.first.name == "lost"
    assert found.first.own.faults == ("missing",)


def test_a_run_that_fails_says_nothing_of_what_it_was_given(path, reference, monkeypatch):
    def fail(true, self, *args, **kwargs):
        raise ValueError("broken")

    call(Ask, "__call__", fail)(monkeypatch)
    found = compared(reference, path)
    assert [row.name for row in found.rows if row.ok] == ["audio", "line"]
    assert found.first.name == "asked.ids"


def test_two_dumps_in_another_order_are_not_the_same(reference):
    backwards = replace(reference, stages=dict(reversed(reference.stages.items())))
    found = against_dump(reference, backwards)
    assert [row.own.faults for row in found.rows if not row.ok] == [
        ("out of order: answer_steps is there instead",)
    ]
    assert against_dump(reference, reference).ok


def test_another_bundle_is_reported(reference):
    other = {**reference.about["bundle"], "name": "other", "files": {}}
    found = against_dump(reference, replace(reference, about={**reference.about, "bundle": other}))
    assert "bundle.name: 'tiny' in the reference, 'other' here" in table(found)


def test_of_two_dumps_nothing_is_reported_of_what_came_before(reference):
    louder = {
        **reference.stages,
        "soft": replace(reference.stages["soft"], value=reference.stages["soft"].value * 2),
    }
    found = against_dump(reference, replace(reference, stages=louder))
    assert verdict_line(found) == (
        "differs: 1 of 14 stages; the first is soft, and two dumps do not show whether it is "
        "at fault itself"
    )


# What made it


def test_another_rate_is_another_clip(reference, tmp_path):
    audio = reference.stages["audio"]
    slower = Stage(composer.Audio(audio.value.samples, 4000, "x"), "audio", audio.axes, 0)
    path = tmp_path / "x.safetensors"
    path.write_bytes(Dump({"audio": slower}).pack())
    with pytest.raises(composer.ComposerError, match="'audio' has 4000 Hz, not 8000 Hz"):
        read_dump(path)
    true = stage_of(slower.value, None, (), -1)
    found = against_dump(Dump({"audio": audio}), Dump({"audio": true}))
    assert found.first.own.faults == ("axes 4000 Hz, not 8000 Hz",)


def test_a_dump_that_was_tampered_with_is_refused(reference, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(reference.pack())
    assert read_dump(path).about["digests"].keys() == {"audio"}
    path.write_bytes(replace(reference, about={"digests": {"audio": "sha256:00"}}).pack())
    with pytest.raises(composer.ComposerError, match="'audio' does not match its digest"):
        read_dump(path)
    soft = replace(reference.stages["soft"], floor=Measures(-1.0, 0.0, 0.0, 0.0))
    path.write_bytes(Dump({"soft": soft}).pack())
    with pytest.raises(composer.ComposerError, match="'soft' has a noise below 0"):
        read_dump(path)


def test_settings_that_differ_are_reported(path, reference):
    few = {"answer": {"max_tokens": 3}}
    found = compared(reference, path, options=few)
    assert not found.ok
    messages = "settings.answer.max_tokens: 6 in the reference, 3 here"
    assert messages in table(found).splitlines()
    shown = as_json(found)
    assert shown["reference"]["settings"]["answer"]["max_tokens"] == 6
    assert shown["candidate"]["settings"]["answer"]["max_tokens"] == 3
    assert shown["candidate"]["bundle"]["name"] == "tiny"


def test_what_either_does_not_state_is_not_reported():
    ours = {"settings": {"answer": {"seed": 0}}, "inputs": {"line": "hi"}}
    assert provenance_differences({"made_by": "torch"}, ours) == []
    assert provenance_differences({"inputs": {}}, ours) == [
        "inputs.line: none in the reference, 'hi' here"
    ]


def test_each_stage_says_what_was_allowed(path, reference):
    gate = StageJudge(Tolerance.scaled(0.01))
    shown = as_json(compared(reference, path, gate=gate))
    allowed = {each["stage"]: each["own"]["allowed"] for each in shown["stages"]}
    assert allowed["soft"] == {"l2": 0.01, "peak": 0.1, "gain": 0.01, "angle": 0.01, "zero": 0.01}
    assert allowed["asked.ids"] is None


def test_nothing_compared_fails_in_junit_too():
    suite = ElementTree.fromstring(junit(Comparison((), ("a", "b")), "x"))
    assert {key: suite.get(key) for key in ("tests", "failures", "skipped")} == {
        "tests": "3", "failures": "1", "skipped": "2",
    }  # fmt: skip
    (failure,) = suite.iter("failure")
    assert failure.get("message") == "nothing was compared"
