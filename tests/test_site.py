"""The site builds without a warning: every link leads somewhere, every page is reached."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import composer

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.docs


def build(target, *arguments):
    command = [sys.executable, "-m", "scripts.make_site", "--target", str(target), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if find_spec("sphinx") is None and not os.environ.get("CI"):
        pytest.skip("sphinx is not installed; try scripts/setup dev")
    folder = tmp_path_factory.mktemp("built") / "site"
    built = build(folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_there(site):
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT).with_suffix(".html")).exists(), page


def test_the_first_page_has_its_picture(site):
    assert "url=README.html" in (site / "index.html").read_text()
    assert 'src="_images/graph.svg"' in (site / "README.html").read_text()


def test_every_public_name_has_its_docstring(site):
    reference = (site / "docs" / "reference.html").read_text()
    for name in composer.__all__:
        assert f'id="composer.{name}"' in reference


def test_a_broken_link_is_an_error(site, tmp_path):
    (tmp_path / "README.md").write_text("# A page\n\n[nowhere](gone.md)\n")
    built = build(tmp_path / "site", "--source", str(tmp_path))
    assert built.returncode != 0
    assert "'gone.md'" in built.stderr
