import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = re.compile(r'"(S4[0-7]\d)"')


def test_every_code_has_its_page() -> None:
    sources = ROOT.joinpath("composer/formats").rglob("*.py")
    used = {code for path in sources for code in CODE.findall(path.read_text())}
    pages = {path.stem: path.read_text() for path in ROOT.glob("docs/errors/S4[0-7]?.md")}
    assert used <= set(pages)
    for code, text in pages.items():
        assert re.match(rf"# {code} [A-Z].+\n\n", text), code


def test_every_code_is_tested() -> None:
    sources = ROOT.joinpath("composer/formats").rglob("*.py")
    used = {code for path in sources for code in CODE.findall(path.read_text())}
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert {code for code in used if f"{code} " not in tests} == set()
