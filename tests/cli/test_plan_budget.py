"""composer plan --budget."""

import pytest

import composer
from composer.cli import budget_table
from composer.jobs.budget import Budget, PrecisionPlan, PrecisionTrial


def test_what_was_measured_is_a_table():
    choices = (
        PrecisionTrial("lm", "int8", 8_000, 1e-4),
        PrecisionTrial("lm", "float16", 16_000, 0.0),
    )
    pick = PrecisionPlan({"lm": "int8"}, 8_000, 1e-4, True)
    lines = budget_table.budget_table(
        Budget(10_000, 32_000, choices, (PrecisionPlan({}, 32_000, 0, True), pick), pick)
    )
    assert "\n".join(lines) == (
        "as stored: 32 kB; divergence is in nats a token from that\n"
        "one component at a time:\n"
        "  lm=int8         8 kB    0.0001  ############\n"
        "  lm=float16     16 kB         0\n"
        "none is both smaller and nearer:\n"
        "     32 kB         0  as stored\n"
        "*     8 kB    0.0001  lm=int8\n"
        "fits into 10 kB: lm=int8, 0.0001 nats\n"
        "  --precision lm=int8"
    )
    drawn = budget_table.budget_plot(
        "tiny", Budget(10_000, 32_000, choices, (PrecisionPlan({}, 32_000, 0, True), pick), pick)
    )
    assert "<title>tiny: nats a token from as stored, by size</title>" in drawn
    for label in ("int8", "float16", "as stored"):
        assert f">{label}</text>" in drawn
    nothing = Budget(10, 32_000, choices, (pick,), None)
    assert list(budget_table.budget_table(nothing))[-1] == "nothing that was tried fits into 10 B"


@pytest.mark.slow
def test_the_pick_becomes_a_variant_and_a_picture(cli, tmp_path):
    """Of an encoder in an ONNX file before a decoder whose weights are packed already."""
    own = tmp_path / "own"
    composer.create(own, like="mega-asr-mini")
    clip, picture = own / "clips" / "digits-01.flac", tmp_path / "plan.svg"
    asked = ("--budget", "5MB", "--try", "int8", "--apply", "small", "--svg", picture)
    code, out, _ = cli("plan", own, clip, *asked)
    assert code == 0
    stored, small, fits, flag = (line.split() for line in out.splitlines()[-4:])
    assert stored[1:] == ["MB", "0", "as", "stored"]
    assert (small[0], small[-1]) == ("*", "encoder=int8")
    assert " ".join(fits).startswith("fits into 5 MB: encoder=int8, ")
    assert flag == ["--precision", "encoder=int8"]
    assert picture.read_text().startswith("<svg")
    planned = cli("plan", own, "--variant", "small")[1]
    assert "cast  encoder: converted when it is loaded: int8\n" in planned
    nbytes = next(line for line in planned.splitlines() if line.startswith("weights: "))
    assert float(nbytes.split()[1]) < 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "much"], "a size is a number and kB, MB or GB, not 'much'"),
        (["--apply", "small"], "clips, --try, --apply and --svg belong to --budget"),
        (["--svg", "x.svg"], "clips, --try, --apply and --svg belong to --budget"),
        (["--budget", "3GB", "--try", "int9"], "'int9' is neither a dtype nor a recipe"),
    ],
)
def test_a_wrong_call(cli, arguments, message):
    code, out, err = cli("plan", "mega-asr-mini", *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
