"""What the documentation takes from the program is what the program says."""

import re
from pathlib import Path

from scripts import make_docs
from scripts.draw_architecture import reached
from scripts.imports import edges, modules

ROOT = Path(__file__).parents[2]
SOURCES = [p for folder in ("composer", "components") for p in (ROOT / folder).rglob("*.py")]
CODE = re.compile(r'"([MWLSR]\d{3})"')


def raised():
    """Return every code in the sources with the files that raise it."""
    found = {}
    for path in SOURCES:
        for code in CODE.findall(path.read_text()):
            found.setdefault(code, set()).add(path.relative_to(ROOT))
    return found


def pages():
    return {path.stem: path.read_text() for path in ROOT.glob("docs/errors/[A-Z]???.md")}


def test_every_code_has_a_page_and_every_page_a_code():
    assert set(raised()) == set(pages())


def test_each_page_is_titled_by_its_code_and_short():
    for code, text in pages().items():
        assert re.match(rf"# {code} \S.*\n\n\S", text), code
        assert len(text.splitlines()) <= 40, code


def test_each_example_shows_its_own_code():
    for code, text in pages().items():
        examples = re.findall(r"```text\n(.*?)```", text, re.S)
        assert not examples or any(code in each for each in examples), code


def test_a_code_means_one_thing():
    """Headers and the rest count in the same hundred: no code may be in both."""
    reader = "composer.formats.headers"
    names = {name for name in reached(edges(), reader) if name.startswith("composer.formats.")}
    headers = {modules()[name].relative_to(ROOT) for name in names | {reader}}
    assert len(headers) > 10
    shared = {
        code for code, files in raised().items() if len({file in headers for file in files}) == 2
    }
    assert shared == set()


def test_generated_pages_are_fresh(monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    stale = [
        path.relative_to(ROOT)
        for path, text in make_docs.pages()
        if not path.exists() or path.read_text() != text
    ]
    assert stale == [], "run: scripts/docs"
