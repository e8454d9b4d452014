import json
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile

from composer.comparison.dump import read_dump
from composer.core import registry
from tests.comparison.tiny import CLIP, KINDS, MANIFEST, Words


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    for each in KINDS:
        registry.register_component(each)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(MANIFEST)
    other = "variants: {off: {graph: {answer: {with: {lora: false}}}}}\ninputs:"
    (tmp_path / "two.yaml").write_text(MANIFEST.replace("inputs:", other, 1))
    soundfile.write("clip.wav", *CLIP, subtype="FLOAT")
    yield
    for each in KINDS:
        registry.unregister_component(each.name)


def test_tap_and_diff(cli):
    code, out, err = cli("tap", "tiny.yaml", "-i", "audio=clip.wav", "-o", "ref.safetensors")
    assert (code, out, err) == (0, "", "ref.safetensors: 14 stages\n")
    code, out, err = cli("diff", "ref.safetensors", "tiny.yaml")
    assert code == 0
    assert out.splitlines()[-1] == "the same: 14 stages"
    code, out, err = cli("diff", "ref.safetensors", "two.yaml", "--variant", "off")
    assert code == 1
    assert out.splitlines()[-1] == (
        "differs: 1 of 14 stages; the first is answer_steps, on the reference's own input"
    )


def test_a_dump_is_called_as_what_it_is(cli, tmp_path):
    code, _out, err = cli("tap", "tiny.yaml", "-i", "audio=clip.wav", "-o", "ref.bin")
    assert code == 2
    assert "a dump is a .safetensors file, not ref.bin" in " ".join(err.split())
    assert not (tmp_path / "ref.bin").exists()


def test_a_floor_without_noise_is_refused(cli, tmp_path):
    given = ("tap", "tiny.yaml", "-i", "audio=clip.wav", "-o", "x.safetensors", "--floor")
    code, _out, err = cli(*given, "float32")
    assert code == 2
    assert "float32 changes nothing here: no noise was measured" in " ".join(err.split())
    assert cli(*given, "")[0] == 2
    assert not (tmp_path / "x.safetensors").exists()


def test_the_noise_of_steps_does_not_hang_on_other_ids(cli, tmp_path, monkeypatch):
    true = Words.generate

    def other(self, *args, **kwargs):
        made = yield from true(self, *args, **kwargs)
        return {**made, "ids": made["ids"] ^ (self.kind is np.float16)}

    other.__signature_of_ports__ = true.__signature_of_ports__
    monkeypatch.setattr(Words, "generate", other)
    cli("tap", "tiny.yaml", "-i", "audio=clip.wav", "-o", "ref.safetensors", "--floor", "float16")
    assert 0 < read_dump(tmp_path / "ref.safetensors").stages["answer_steps"].floor.l2 < 0.01


def test_nothing_left_to_compare_is_no_success(cli):
    cli("tap", "tiny.yaml", "-i", "audio=clip.wav", "-o", "ref.safetensors")
    code, out, _err = cli("diff", "ref.safetensors", "tiny.yaml", "--skip", "*")
    assert code == 1
    assert out.splitlines()[-1] == "differs: nothing was compared"


def test_two_editions_in_one_command(cli):
    given = ("-i", "audio=clip.wav", "--precision", "encoder=float16", "--any-float")
    code, out, _err = cli("diff", "tiny.yaml", "tiny.yaml", *given)
    assert code == 1
    assert "the first is soft, on the reference's own input" in out
    assert cli("diff", "tiny.yaml", "tiny.yaml", *given, "--tolerance", "0.05")[0] == 0


def test_json_junit_and_dumps(cli):
    for name, variant in (("a", ()), ("b", ("--variant", "off"))):
        cli("tap", "two.yaml", "-i", "audio=clip.wav", "-o", f"{name}.safetensors", *variant)
    given = ("diff", "a.safetensors", "b.safetensors")
    code, out, _ = cli(*given, "--json", "--junit", "junit.xml")
    messages = json.loads(out)
    assert (code, messages["first"]) == (1, "answer_steps")
    assert ElementTree.parse("junit.xml").getroot().get("failures") == "1"
    code, out, _err = cli("diff", "a.safetensors", "b.safetensors", "--skip", "answer_*")
    assert out.splitlines()[-5:] == [
        "skipped: answer_steps",
        "allowed: l2 1e-06, peak 1e-05, gain 1e-06, angle 1e-09, zero 1e-06",
        "bundle.variant: None in the reference, 'off' here",
        "settings.answer.lora: True in the reference, False here",
        "the same: 13 stages",
    ]
    code, _out, err = cli(*given, "--skip", "answr_steps")
    assert code == 2
    assert "--skip answr_steps matches no stage; did you mean 'answer_steps'?" in err


def test_a_floor_is_measured_and_kept(cli, tmp_path):
    cli("tap", "tiny.yaml", "-i", "audio=clip.wav", "-o", "ref.safetensors", "--floor", "float16")
    dump = read_dump(tmp_path / "ref.safetensors")
    assert dump.stages["soft"].floor.l2 > 0
    assert dump.about["bundle"]["name"] == "tiny"
    assert dump.about["bundle"]["manifest"].startswith("sha256:")
    assert dump.about["digests"]["audio"].startswith("sha256:")
    assert "mlx" in dump.about["versions"]
    assert dump.about["inputs"] == {"line": "hi"}
    assert dump.about["floor"]["bundle"] == dump.about["bundle"]
    code, out, _err = cli("diff", "ref.safetensors", "tiny.yaml", "--precision", "words=float16",
               "--any-float")  # fmt: skip
    assert code == 0
    assert "allowed: at each stage by its own noise, which --json lists" in out


def test_a_dump_can_be_fed(cli):
    cli("tap", "tiny.yaml", "-i", "audio=clip.wav", "-o", "ref.safetensors")
    fed = cli("run", "tiny.yaml", "-i", "audio=clip.wav", "--feed", "ref.safetensors")
    assert fed == cli("run", "tiny.yaml", "-i", "audio=clip.wav")
    assert fed[0] == 0


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (("ref.safetensors", "tiny.yaml"), "ref.safetensors: R542 the file does not exist"),
        (("clip.wav", "tiny.yaml"), "clip.wav"),
        (("x.safetensors", "tiny.yaml", "-i", "audio=clip.wav"), "is a dump and holds its inputs"),
        (
            ("tiny.yaml", "x.safetensors", "--variant", "off"),
            "x.safetensors is a dump: leave out what places a bundle",
        ),
        (("x.safetensors", "y.safetensors", "--set", "a.b=1"), "leave out --task and --set"),
        *(
            (("x.safetensors", "tiny.yaml", "--tolerance", odd), f"--tolerance {odd} is not from 0")
            for odd in ("nan", "-1", "1", "inf", "1e+200")
        ),
        (("tiny.yaml", "tiny.yaml"), "R541 input 'audio' (audio) is not given"),
    ],
)
def test_what_cannot_be_compared(cli, arguments, messages):
    code, _out, err = cli("diff", *arguments)
    assert code in (2, 3)
    assert messages in " ".join(err.split())
    assert "Traceback" not in err
