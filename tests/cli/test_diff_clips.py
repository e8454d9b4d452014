"""Several clips in one dump, and what follows from how two sides came about."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from safetensors.numpy import save_file

import composer
from composer.comparison.compare import against_bundle, against_dump
from composer.comparison.dump import Dump, read_dump
from composer.comparison.gates import Measures
from composer.comparison.report import table, verdict_line
from composer.comparison.tap import tap
from composer.core import registry
from tests.comparison.test_mutations import opened
from tests.comparison.tiny import CLIP, KINDS, MANIFEST, Encoder

PLAIN = ("tiny.yaml", "a.wav", "b.wav")


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    for each in KINDS:
        registry.register_component(each)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(MANIFEST)
    soundfile.write("a.wav", *CLIP, subtype="FLOAT")
    soundfile.write("b.wav", -CLIP[0][:48], CLIP[1], subtype="FLOAT")
    yield
    for each in KINDS:
        registry.unregister_component(each.name)


def spoil(monkeypatch, change):
    true = Encoder.__call__

    def wrong(self, mel):
        return change(true(self, mel))

    wrong.__signature_of_ports__ = true.__signature_of_ports__
    monkeypatch.setattr(Encoder, "__call__", wrong)


def test_a_dump_of_two_clips_comes_back(cli, tmp_path):
    code, _out, err = cli("tap", *PLAIN, "--floor", "float16", "-o", "ref.safetensors")
    assert (code, err) == (0, "ref.safetensors: 14 stages of 2 clips\n")
    first, second = read_dump(tmp_path / "ref.safetensors").clips
    assert [each.name for each in (first, second)] == ["a.wav", "b.wav"]
    assert len(first.stages["soft"].value) == 10
    assert len(second.stages["soft"].value) == 8
    for clip in (first, second):
        assert clip.floor.keys() == clip.stages.keys()
        np.testing.assert_array_equal(clip.floor["soft"], clip.alone["soft"])
        assert not np.array_equal(clip.floor["soft"], clip.stages["soft"].value)


def test_a_fault_of_one_clip_is_named_with_the_clip(cli, monkeypatch):
    assert cli("tap", *PLAIN, "-o", "ref.safetensors")[0] == 0
    code, out, _err = cli("diff", "ref.safetensors", "tiny.yaml")
    assert (code, out.splitlines()[-1]) == (0, "the same: 14 stages of 2 clips")
    spoil(monkeypatch, lambda rows: rows * np.float32(1 + (len(rows) == 8)))
    code, out, _err = cli("diff", "ref.safetensors", "tiny.yaml")
    assert code == 1
    assert "    b.wav: l2 1 is over 1e-06" in out.splitlines()
    assert "a.wav: l2" not in out


def test_a_diff_of_two_bundles_takes_clips(cli):
    code, out, _err = cli("diff", "tiny.yaml", *PLAIN)
    assert (code, out.splitlines()[-1]) == (0, "the same: 14 stages of 2 clips")


def test_a_run_takes_no_dump_of_several_clips(cli):
    cli("tap", *PLAIN, "-o", "ref.safetensors")
    code, _out, err = cli("run", "tiny.yaml", "-i", "audio=a.wav", "--feed", "ref.safetensors")
    assert code != 0
    assert "R548 this dump has 2 clips, and a run takes one" in " ".join(err.split())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("a.wav", "a.wav"), "R540 a.wav is the same clip as a.wav"),
        (("a.wav", "-i", "audio=b.wav"), "R540 'audio' is each clip in turn"),
        (("nowhere.wav",), "nowhere.wav"),
    ],
)
def test_clips_that_are_wrong_are_refused(cli, tmp_path, given, message):
    code, _out, err = cli("tap", "tiny.yaml", *given, "-o", "x.safetensors")
    assert code != 0
    assert message in " ".join(err.split())
    assert not (tmp_path / "x.safetensors").exists()


def test_dumps_of_other_numbers_of_clips_are_refused(cli):
    cli("tap", *PLAIN, "-o", "two.safetensors")
    cli("tap", "tiny.yaml", "a.wav", "-o", "one.safetensors")
    code, _out, err = cli("diff", "two.safetensors", "one.safetensors")
    assert code == 2
    assert "R544 the reference has 2 clips, and the other dump 1" in " ".join(err.split())


def test_like_is_compared_with_like(cli, monkeypatch):
    """A fault of 1e-5 hides in float16's noise, but not from what float16 itself gave."""
    low = ("--precision", "encoder=float16", "--precision", "words=float16", "--any-float")
    cli("tap", *PLAIN, "--floor", "float16", "-o", "ref.safetensors")
    assert cli("diff", "ref.safetensors", "tiny.yaml")[0] == 0
    assert cli("diff", "ref.safetensors", "tiny.yaml", *low)[0] == 0
    spoil(monkeypatch, lambda rows: rows * (1 + (np.arange(8) == 3) * rows.dtype.type(1e-3)))
    code, out, _err = cli("diff", "ref.safetensors", "tiny.yaml", *low)
    assert (code, "the first is soft, on the reference's own input" in out) == (1, True)


def test_two_sides_that_came_about_alike_differ_by_rounding_alone(monkeypatch):
    with opened("tiny.yaml") as bundle:
        reference = tap(bundle, "default", {"audio": CLIP})
    elsewhere = replace(reference, about={**reference.about, "machine": "another"})
    unknown = replace(reference, about={"made_by": "torch"})
    spoil(monkeypatch, lambda rows: rows * np.float32(1 + 1e-5))
    for dump, same in ((reference, False), (elsewhere, True), (unknown, True)):
        with opened("tiny.yaml") as bundle:
            found = against_bundle(dump, bundle, "default")
        assert found.rows[4].own.ok is same, table(found)
        assert found.rows[4].name == "soft"


def test_files_that_differ_are_in_the_verdict_though_all_is_the_same():
    with opened("tiny.yaml") as bundle:
        reference = tap(bundle, "default", {"audio": CLIP})
    made = {**reference.about["bundle"], "files": {"repo/config.json": "sha256:1"}}
    other = {**made, "files": {"repo/config.json": "sha256:2"}}
    dumps = [replace(reference, about={**reference.about, "bundle": each})
             for each in (made, other)]  # fmt: skip
    found = against_dump(*dumps)
    assert verdict_line(found) == "the same: 14 stages, though these files differ: repo/config.json"
    assert verdict_line(against_dump(dumps[0], dumps[0])) == "the same: 14 stages"


def test_stages_in_another_order_than_the_bundles_differ():
    with opened("tiny.yaml") as bundle:
        reference = tap(bundle, "default", {"audio": CLIP})
        names = list(reference.stages)
        names[7], names[9] = names[9], names[7]
        moved = replace(reference, stages={name: reference.stages[name] for name in names})
        found = against_bundle(moved, bundle, "default")
    assert not found.ok
    assert [row.own.faults for row in found.rows if not row.ok] == [
        ("out of order: base is there instead",)
    ]


@pytest.mark.parametrize(
    "noise", [Measures(1e9, 1e9, 1e9, 1e9), Measures(0.5, 1, 0.5, 1), Measures(0.1, 1, 0.15, 0)]
)
def test_a_floor_that_is_no_noise_is_refused(tmp_path, noise):
    with opened("tiny.yaml") as bundle:
        reference = tap(bundle, "default", {"audio": CLIP})
    soft = replace(reference.stages["soft"], floor=noise)
    path = tmp_path / "x.safetensors"
    path.write_bytes(Dump({**reference.stages, "soft": soft}, reference.about).pack())
    with pytest.raises(composer.ComposerError, match=r"R548 .* the noise of 'soft' is"):
        read_dump(path)


def test_a_floor_of_another_model_is_refused(cli, tmp_path, monkeypatch):
    spoil(monkeypatch, lambda rows: rows * rows.dtype.type(1.5 if rows.dtype == "f2" else 1))
    code, _out, err = cli("tap", *PLAIN, "--floor", "float16", "-o", "x.safetensors")
    assert code == 5
    text = " ".join(err.split())
    assert "R559 the noise of 'soft' is 0.5 of its values: that is another model" in text
    assert not (tmp_path / "x.safetensors").exists()


def test_another_setting_is_in_the_verdict_though_all_stages_agree(cli, tmp_path):
    """A limit that no clip reaches: every stage is the same, and the manifest is not."""
    cli("tap", *PLAIN, "-o", "ref.safetensors")
    limited = MANIFEST.replace("lora: true}", "lora: true, max_tokens: 6}")
    (tmp_path / "limited.yaml").write_text(limited)
    code, out, _err = cli("diff", "ref.safetensors", "limited.yaml")
    assert (code, out.splitlines()[-1]) == (
        0, "the same: 14 stages of 2 clips, though these files differ: the manifest",
    )  # fmt: skip


STACK = """\
composer: 1
name: small
sources: {repo: ./}
components:
  mix: {use: onnx.stack, weights: repo/w.safetensors, config: {layers: [layer_norm, linear], layer_norm_eps: 0.000001}}
inputs: {x: {type: tensor, port: f32 N 8}}
graph: {y: {run: mix, with: {x: $x}}}
outputs: {y: $y}
"""  # noqa: E501


def test_another_epsilon_is_named_at_the_default(cli, tmp_path):
    """1e-5 for 1e-6: the floor of two sides that came about alike is 0."""
    random = np.random.default_rng(0)
    tensors = {
        "0.weight": np.ones(8),
        "0.bias": np.zeros(8),
        "1.weight": random.normal(size=(4, 8)),
    }
    save_file({name: each.astype(np.float32) for name, each in tensors.items()}, "w.safetensors")
    np.save("x.npy", random.normal(size=(5, 8)).astype(np.float32))
    (tmp_path / "small.yaml").write_text(STACK)
    (tmp_path / "other.yaml").write_text(STACK.replace("0.000001", "0.00001"))
    cli("tap", "small.yaml", "-i", "x=x.npy", "-o", "ref.safetensors")
    assert cli("diff", "ref.safetensors", "small.yaml")[0] == 0
    code, out, _err = cli("diff", "ref.safetensors", "other.yaml")
    assert (code, out.splitlines()[-1]) == (
        1, "differs: 1 of 2 stages; the first is y, on the reference's own input",
    )  # fmt: skip
