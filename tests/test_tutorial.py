"""The tutorial and the guides show what their commands print, run one after the other."""

import re

import pytest

from scripts.examples import STEP, comparable, played
from scripts.make_tutorial import PAGES, rewritten

COMMANDS = {
    "tutorial.md": 13,
    "batch.md": 2,
    "evaluating.md": 3,
    "precision.md": 1,
    "python.md": 0,
}
SHOWN = {  # what the pages are about, so that writing them anew cannot hide a failure
    "tutorial.md": (
        "my-asr: ok, 6 nodes, 1 task",
        "the same: 15 stages",
        "differs: 2 of 15 stages",
    ),
    "batch.md": ("clips     12 in, 12 rows out, in 3 shards of rows", "failed    0\n"),
    "evaluating.md": ("WER [0.00, 7.00]", "p 0.2500: no difference is shown"),
    "precision.md": ("crossings: 3",),
    "python.md": (),
}

pytestmark = pytest.mark.docs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_print_what_the_page_shows(page, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    shown = page.read_text()
    assert len(re.findall(r"(?m)^\$ composer .+\n.", shown)) == COMMANDS[page.name]
    assert all(text in shown for text in SHOWN[page.name])
    assert comparable(rewritten(page)) == comparable(shown), "run: scripts/docs tutorial"


def test_a_stale_output_is_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = "`a/b.yaml`:\n\n```yaml\nx: 1\n```\n\n```text\n$ composer explain\nnothing\n```\n"
    assert played(page) != page
    assert (tmp_path / "a" / "b.yaml").read_text() == "x: 1\n"
    assert played(played(page)) == played(page)


def test_a_change_that_does_not_fit_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.yaml").write_text("x: 1\n")
    with pytest.raises(ValueError, match="there 0 times"):
        played("`b.yaml`:\n\n```diff\n-y: 1\n+y: 2\n```\n")


def test_a_code_that_fails_is_an_error():
    with pytest.raises(AssertionError):
        played("```python\nassert False\n```\n")


def test_only_what_varies_is_left_out():
    assert comparable("speed 1\nwords 2\n") == "words 2\n"
    assert comparable("l2 4.5e-07 same") == comparable("l2 1.2e-08 same")
    assert comparable("l2 4.5e-07 same") != comparable("l2 4.5e-07 DIFFERS")
    assert STEP.search("```sh\ncomposer list\n```\n") is None
