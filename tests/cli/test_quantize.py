"""composer quantize."""

import json

from composer.sources.shipped import shipped_folder

MINI = shipped_folder("bundles") / "elderwise-mini"


def test_a_bundle_is_written_quantized(cli, tmp_path):
    new = tmp_path / "small"
    code, out, err = cli("quantize", MINI, "-o", new, "--precision", "decoder=mixed-8-4")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "decoder: 8.01 bits a weight"
    assert "  attention: 8 bits, groups of 64, 20 modules, 483 kB" in lines
    assert lines[-1].startswith(f"{new}/bundle.yaml: ")
    assert cli("check", new)[0] == 0
    code, out, err = cli("quantize", MINI, "-o", new, "--precision", "decoder=int8")
    assert (code, out) == (5, "")
    assert err == (
        f"{new}: R507 there is a folder already\n"
        "    hint: choose another name, or replace it by --force (force=True in Python)\n"
    )


def test_what_is_asked_for_wrongly(cli, tmp_path):
    code, out, err = cli("quantize", MINI, "-o", tmp_path / "x", "--precision", "decoder=mixed")
    assert (code, out) == (2, "")
    assert "did you mean 'mixed-8-6'?" in err
    code, _, err = cli("quantize", MINI, "-o", tmp_path / "x")
    assert code == 5
    assert "R597 no component has a recipe" in err
    code, _, err = cli("quantize", MINI, "-o", tmp_path / "x", "--precision", "speech=int8")
    assert code == 3
    assert "W246" in err


def test_calibration_on_a_clip(cli, tmp_path):
    new, clip = tmp_path / "small", MINI / "clips" / "digits-01.flac"
    asked = ["-o", new, "--precision", "decoder=ple-safe-4bit"]
    code, out, err = cli("quantize", MINI, *asked, "--calibrate", clip, "--task", "transcribe")
    assert (code, err) == (0, "")
    notes = json.loads((new / "quantization.json").read_text())
    assert [each["file"] for each in notes["calibration"]["samples"]] == ["digits-01.flac"]
    code, out, err = cli("quantize", MINI, *asked, "--calibrate", clip, "--method", "gpt")
    assert (code, out) == (5, "")
    assert err == "R597 no method is 'gpt'\n    hint: did you mean 'gptq'?\n"
    code, _, err = cli("quantize", MINI, *asked, "--task", "transcribe")
    assert code == 2
    assert "--task and -i belong to --calibrate" in err
