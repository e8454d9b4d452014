"""What a person tries first works, or says what to try instead."""

import sys

import pytest

from tests.fakes import BUNDLE, write

pytestmark = pytest.mark.usefixtures("fakes")


def test_a_clip_is_run_by_its_name(cli, bundle, clip):
    path = clip()
    assert cli("run", bundle, path) == cli("run", bundle, "-i", f"audio={path}") == (0, "7.\n", "")


def test_a_clip_without_a_bundle_says_which_there_are(cli, clip):
    code, out, err = cli("transcribe", clip())
    assert (code, out) == (2, "")
    assert f"composer transcribe mega-asr-mini {clip()} (or elderwise-mini;" in err
    code, _, err = cli("transcribe", clip(), clip("b.wav"))
    assert code == 2
    assert "name a bundle before it" in err


def test_a_bundle_without_a_clip(cli, bundle):
    code, _, err = cli("transcribe", bundle)
    assert code == 2
    assert "Missing argument 'CLIP...'" in err


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (20, "   14 | "),
        (80, "   14 |   soft: {run: widen, with: {x: $mle}}"),
        (120, "   14 |   soft: {run: widen, with: {x: $mle}}"),
    ],
)
def test_a_problem_shows_its_place_on_a_terminal(cli, tmp_path, monkeypatch, columns, shown):
    path = write(tmp_path, BUNDLE, ("{x: $mel}", "{x: $mle}"))
    _, _, plain = cli("check", path)
    assert "^" not in plain
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    _, _, err = cli("check", path)
    lines = err.splitlines()
    at = lines.index(next(each for each in lines if each.endswith("^")))
    assert lines[at - 1].startswith(shown)
    assert len(lines[at - 1]) < columns
    assert lines[at - 1][lines[at].index("^") :].startswith("$mle")
    assert "".join(f"{each}\n" for each in lines[: at - 1] + lines[at + 1 :]) == plain
