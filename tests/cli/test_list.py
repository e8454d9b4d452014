"""The list of bundles, as a table and for programs."""

import pytest

from composer.core import registry
from composer.jobs.on_this_machine import on_this_machine
from composer.manifest import read_manifest
from composer.sources.catalogue import Status
from composer.sources.shipped import shipped_bundles
from tests.cli.conftest import COLOUR


def test_the_list_is_piped_as_values_between_tabs(cli):
    code, out, err = cli("list")
    assert (code, err) == (0, "")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == list(shipped_bundles())
    assert {len(row) for row in rows} == {7}
    by_name = {row[0]: row[1:6] for row in rows}
    size = sum(
        path.stat().st_size
        for path in shipped_bundles()["mega-asr-mini"].parent.rglob("*")
        if path.parent.name in ("onnx", "tokenizer", "llm-mixed8_4", "mlx") and path.is_file()
    )
    assert by_name["mega-asr-mini"] == ["transcribe", str(size), "Apache-2.0", "yes", "yes"]
    assert by_name["gemma-4-e2b"][:4] == [
        "transcribe,chat,see,compare,ask",
        "7580000000",
        "Apache-2.0 and Gemma",
        "no",
    ]
    assert by_name["mega-asr"][1] == ""  # nobody knows the layout of its encoder


@pytest.mark.parametrize("columns", [20, 80, 120])
def test_the_list_fits_a_terminal(terminal, columns):
    code, out, err = terminal(columns, "list")
    assert (code, err) == (0, "")
    lines = COLOUR.sub("", out).splitlines()
    for line in lines:
        assert len(line) <= columns or " " not in line.strip()
    words = " ".join(lines).split()
    for name, path in shipped_bundles().items():
        assert name in words
        summary = read_manifest(path).summary.replace("-", "").split()
        assert "".join(summary) in "".join(words).replace("-", "")
    if columns == 20:
        at = lines.index("mega-asr-mini")
        assert lines[at + 1 : at + 3] == ["  does: transcribe", "  size: 6.93 MB"]
        return
    head = lines[0]
    assert head.split() == ["NAME", "DOES", "SIZE", "LICENCE", "HERE", "FAST"]
    row = next(line for line in lines if line.startswith("mega-asr-mini "))
    cells = zip(
        head.split(), ("mega-asr-mini", "transcribe", "6.93 MB", "Apache-2.0"), strict=False
    )
    for title, cell in (*cells, ("HERE", "yes"), ("FAST", "yes")):
        assert row[head.index(title) :].startswith(cell)
    assert "\x1b[1mNAME" in out


@pytest.mark.parametrize(("nbytes", "slow"), [(10, None), (10**18, "it takes 1e+09 GB, and")])
def test_a_bundle_that_does_not_fit_is_slow(nbytes, slow):
    manifest = read_manifest(shipped_bundles()["gemma-4-31b"])
    found = on_this_machine(manifest, Status(verified=[], bytes=nbytes))
    assert (found.nbytes, found.here) == (nbytes, False)
    assert (found.slow or "").startswith(slow or "")


def test_a_part_on_a_backend_that_is_slow_here():
    manifest = read_manifest(shipped_bundles()["gemma-4-31b"])
    found = on_this_machine(manifest, Status(verified=[], backends={"decoder": "mlx"}))
    on_gpu = registry.backend("mlx").suitability()[0] > 2
    assert (found.slow is None) == on_gpu
    assert on_gpu or found.slow.startswith("decoder runs on MLX, and MLX has no GPU here")
