"""composer quantize."""

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
