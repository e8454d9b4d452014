"""A differ is worth what it refuses: each corruption fails, at the stage where it is made."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

import composer
from composer.comparison.compare import against_bundle, against_dump
from composer.comparison.decoder_steps import with_steps
from composer.comparison.dump import Dump, Stage
from composer.comparison.gates import Tolerance
from composer.comparison.judge import StageJudge
from composer.comparison.tap import tap, with_floor, with_replayed_steps
from composer.core.call_signature import OUT
from composer.jobs.record import record
from tests.comparison import tiny
from tests.comparison.tiny import CLIP, MANIFEST, PAD, SCALE, Ask, Encoder, Mel, Words


def opened(path, **kwargs):
    bundle = composer.load(path, **kwargs)
    bundle.checked = with_steps(bundle.checked)
    return bundle


@pytest.fixture(scope="module")
def bundle(path):
    with opened(path) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def reference(bundle):
    return tap(bundle, "default", {"audio": CLIP})


def compared(reference, bundle, **kwargs):
    return against_bundle(reference, bundle, "default", **kwargs)


def test_a_dump_has_every_value_in_graph_order(reference):
    assert list(reference.stages) == [
        "audio", "line", "frames", "frames.mask", "soft", "asked.ids", "asked.slots", "base",
        "embeds", "text", "side", "answer.text", "answer.ids", "answer_steps",
    ]  # fmt: skip
    frames, steps = reference.stages["frames"], reference.stages["answer_steps"]
    assert (frames.dtype, frames.axes, frames.along) == ("f32", ("M", "F"), 0)
    assert (steps.axes, steps.value.shape) == (("N", "V"), (6, 32))
    ids = reference.stages["answer.ids"].value
    np.testing.assert_array_equal(steps.value.argmax(1), ids)


def test_a_run_is_the_same_as_itself(reference, bundle):
    found = compared(reference, bundle)
    assert found.ok
    assert found.first is None
    assert [row.name for row in found.rows] == list(reference.stages)
    assert [row.name for row in found.rows if row.fed is None] == ["audio", "line"]


def test_a_dump_is_of_one_piece(tmp_path, path):
    split = tmp_path / "split.yaml"
    text = MANIFEST.replace("audio: audio", "audio: {type: audio, split: {seconds: 1}}")
    split.write_text(text)
    with opened(split) as bundle:
        long = (np.tile(CLIP[0], 200), CLIP[1])
        with pytest.raises(composer.ComposerError, match="R549 the audio is split, but a dump"):
            tap(bundle, "default", {"audio": long})
        soundfile.write(tmp_path / "long.wav", np.tile(CLIP[0], 2000), CLIP[1])
        with pytest.raises(composer.ComposerError, match="R549 the audio is split, but a dump"):
            record(bundle, {}, clips=[tmp_path / "long.wav"])  # it is decoded block by block


def method(kind, name, change):
    """Return a way to break one method: what it gives, or how it is called."""

    def spoil(patch):
        true = getattr(kind, name)

        def wrong(self, *args, **kwargs):
            return change(true(self, *args, **kwargs))

        wrong.__signature_of_ports__ = true.__signature_of_ports__
        patch.setattr(kind, name, wrong)

    return spoil


def call(kind, name, change):
    def spoil(patch):
        true = getattr(kind, name)
        patch.setattr(kind, name, lambda self, *a, **k: change(true, self, *a, **k))

    return spoil


def soft(change):
    return method(Encoder, "__call__", change)


def frames(change):
    return method(Mel, "__call__", lambda made: {**made, OUT: change(made[OUT])})


def nan(rows):
    rows = rows.copy()
    rows[3, 2] = np.nan
    return rows


def heads(rows):
    return rows.reshape(len(rows), 2, -1)[:, ::-1].reshape(rows.shape)


MUTATIONS = {
    "gain of 1000": (soft(lambda rows: rows * 1000), "soft"),
    "gain of one in a thousand": (soft(lambda rows: rows * np.float32(1.001)), "soft"),
    "zeros": (soft(np.zeros_like), "soft"),
    "one row of zeros": (soft(lambda rows: rows * (np.arange(len(rows)) != 4)[:, None]
                              .astype(np.float32)), "soft"),
    "missing half": (soft(lambda rows: rows[: len(rows) // 2]), "soft"),
    "extra rows": (soft(lambda rows: np.concatenate([rows, rows[-1:]])), "soft"),
    "one frame shifted": (soft(lambda rows: np.roll(rows, 1, 0)), "soft"),
    "features shifted": (frames(lambda mel: np.roll(mel, 1, 1)), "frames"),
    "axes swapped": (frames(lambda mel: mel.T.reshape(mel.shape)), "frames"),
    "dtype": (soft(lambda rows: rows.astype(np.float64)), "soft"),
    "NaN": (soft(nan), "soft"),
    "empty": (soft(lambda rows: rows[:0]), "soft"),
    "permuted heads": (soft(heads), "soft"),
    "permuted columns": (soft(lambda rows: rows[:, ::-1].copy()), "soft"),
    "sign": (soft(np.negative), "soft"),
    "noise of a hundredth": (soft(lambda rows: rows + np.float32(0.01) * rows.std() * np.cos(
        np.arange(rows.size, dtype=np.float32)).reshape(rows.shape)), "soft"),
    "stale stage, of another clip": (call(Encoder, "__call__", lambda true, self, mel: true(
        self, tiny.random(8, *mel.shape))), "soft"),
    "mask": (method(Mel, "__call__", lambda made: {**made, "mask": ~made["mask"]}), "frames.mask"),
    "off-by-one ids": (method(Ask, "__call__", lambda made: {**made, "ids": made["ids"] + (
        made["ids"] == 2 + ord("h") % 20)}), "asked.ids"),
    "ids that are looked up one off": (call(Words, "embed", lambda true, self, ids: true(
        self, (ids + 1) % 32)), "base"),
    "wrong space": (method(Words, "embed", lambda rows: rows / np.float32(SCALE)), "base"),
    "placeholder's own side rows": (call(Words, "side", lambda true, self, ids: true(
        self, np.where(ids == 0, PAD, ids))), "side"),
    "wrong adapter": (lambda patch: patch.setattr(tiny, "LORA", tiny.random(9, tiny.WIDTH)),
                      "answer.text"),
    "adapter at another scale": (lambda patch: patch.setattr(tiny, "LORA", tiny.LORA / 2),
                                 "answer_steps"),
    "adapter off": (call(Words, "steps", lambda true, self, e, s, lora, ids, most: true(
        self, e, s, False, ids, most)), "answer_steps"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_corruption_fails_where_it_is_made(path, reference, monkeypatch, name):
    spoil, stage = MUTATIONS[name]
    spoil(monkeypatch)
    with opened(path) as spoiled:
        found = compared(reference, spoiled)
    assert not found.ok
    assert found.first.name == stage
    # What only follows from it is right, given the right values.
    later = [
        row for row in found.rows if row.fed and not row.fed.ok and row.node != found.first.node
    ]
    assert {row.node for row in later} <= {"answer", "answer_steps"}


def test_other_decoding_ids_do_not_hide_the_steps(path, reference, monkeypatch):
    """Steps are replayed with the reference's ids, so that one other token is one fault."""
    true = Words.generate

    def wrong(self, *args, **kwargs):
        made = yield from true(self, *args, **kwargs)
        return {**made, "ids": np.concatenate([made["ids"][:-1], made["ids"][-1:] ^ 1])}

    wrong.__signature_of_ports__ = true.__signature_of_ports__
    monkeypatch.setattr(Words, "generate", wrong)
    with opened(path) as spoiled:
        found = {row.name: row for row in compared(reference, spoiled).rows}
    assert not found["answer.ids"].ok
    assert found["answer_steps"].ok


def test_what_is_set_on_a_decoder_is_set_on_its_steps(bundle, reference):
    off = {"answer": {"lora": False}}
    found = compared(reference, bundle, options=off)
    assert found.first.name == "answer_steps"
    other = tap(bundle, "default", {"audio": CLIP}, off)
    ids, steps = (other.stages[name].value for name in ("answer.ids", "answer_steps"))
    np.testing.assert_array_equal(steps.argmax(1), ids)
    assert compared(other, bundle, options=off).ok


def test_steps_are_replayed_with_the_ids_of_another_dump(bundle, reference):
    short = tap(bundle, "default", {"audio": CLIP}, {"answer": {"max_tokens": 3}})
    assert len(short.stages["answer_steps"].value) == 3
    again = with_replayed_steps(reference, short, bundle, "default", None).stages["answer_steps"]
    np.testing.assert_array_equal(again.value, reference.stages["answer_steps"].value)


def test_noise_that_is_not_finite_is_no_floor(reference):
    soft = reference.stages["soft"]
    wild = Dump({"soft": replace(soft, value=np.full_like(soft.value, np.inf))})
    assert with_floor(Dump({"soft": soft}), wild).stages["soft"].floor is None


def test_a_node_may_be_called_as_steps_are(tmp_path, path, reference):
    other = tmp_path / "named.yaml"
    other.write_text(
        MANIFEST.replace("  soft:", "  answer_steps:").replace("$soft", "$answer_steps")
    )
    with opened(other) as bundle:
        dump = tap(bundle, "default", {"audio": CLIP})
        assert dump.stages["answer_steps"].axes == ("F", "D")
        assert compared(dump, bundle).ok


def test_ids_of_another_vocabulary_fail_alone(bundle, reference):
    ids = replace(reference.stages["answer.ids"], value=np.full(6, 999))
    found = compared(Dump({**reference.stages, "answer.ids": ids}, reference.about), bundle)
    rows = {row.name: row for row in found.rows if not row.ok}
    assert list(rows) == ["answer.ids", "answer_steps"]
    assert rows["answer_steps"].own.faults == ("missing",)
    assert "R500 words.replay failed" in rows["answer_steps"].fed.faults[0]


def test_a_text_in_place_of_audio_is_no_file_to_open(bundle, reference, tmp_path):
    """A dump may come from anywhere, and must not choose what is read here."""
    secret = Stage(str(tmp_path / "secret.wav"), "text")
    with pytest.raises(composer.ComposerError) as caught:
        compared(Dump({**reference.stages, "audio": secret}), bundle)
    assert str(caught.value) == "R548 'audio' is text in the dump, and the bundle takes audio"


def without(dump, name):
    return Dump({n: s for n, s in dump.stages.items() if n != name}, dump.about)


def test_a_missing_stage_is_a_fault_unless_it_is_skipped(reference):
    short = without(reference, "soft")
    lost, more = against_dump(reference, short), against_dump(short, reference)
    assert (lost.first.name, lost.first.own.faults) == ("soft", ("missing",))
    assert (more.first.name, more.first.own.faults) == ("soft", ("missing in the reference",))
    shown = against_dump(reference, short, skip=["so*"])
    assert shown.ok
    assert shown.skipped == ("soft",)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"dtype": "bf16"}, "dtype bf16, not f32"),
        ({"axes": ("D", "F")}, "axes D F, not F D"),
        ({"value": np.zeros((0, 8), np.float32)}, "shape [0, 8], not [10, 8]"),
    ],
)
def test_dtypes_axes_and_shapes_are_strict(reference, change, fault):
    spoiled = replace(reference.stages["soft"], **change)
    other = Dump({**reference.stages, "soft": spoiled}, reference.about)
    found = against_dump(reference, other)
    assert found.first.name == "soft"
    assert fault in found.first.own.faults


def test_nothing_to_compare_is_no_success(reference):
    nothing = replace(reference.stages["soft"], value=np.zeros((0, 8), np.float32))
    dump = Dump({"soft": nothing})
    assert against_dump(dump, dump).first.own.faults == ("empty: nothing was compared",)


def test_a_noise_floor_sets_the_tolerance(path, reference, monkeypatch):
    with opened(path, precision={"encoder": "float16", "words": "float16"}) as rough:
        noisy = tap(rough, "default", {"audio": CLIP})
        floored = with_floor(reference, noisy)
        assert reference.stages["soft"].floor is None
        assert 1e-5 < floored.stages["soft"].floor.l2 < 1e-3
        assert floored.stages["frames"].floor.l2 == 0
        loose = StageJudge(any_float=True)
        assert compared(floored, rough, gate=loose).ok
        assert not compared(reference, rough).ok
        assert "dtype f16, not f32" in compared(floored, rough).first.own.faults
    soft(lambda rows: rows * np.float32(1.01))(monkeypatch)
    with opened(path, precision={"encoder": "float16", "words": "float16"}) as spoiled:
        assert compared(floored, spoiled, gate=loose).first.name == "soft"


def test_a_tolerance_may_be_given(path, reference, monkeypatch):
    soft(lambda rows: rows * np.float32(1.001))(monkeypatch)
    with opened(path) as spoiled:
        assert compared(reference, spoiled).first.name == "soft"
        rows = compared(
            reference, spoiled, gate=StageJudge(Tolerance.scaled(0.01)), skip=["answer*"]
        ).rows
    assert all(row.ok for row in rows)
