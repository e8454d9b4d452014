"""What the docs show is what happens."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np

import composer
from composer.runtime.profile import read_profile
from tests import replica
from tests.test_peers_bugs import NOT_OURS, TESTED

ROOT = Path(__file__).parent.parent
CLIP = (np.sin(np.arange(16000) / 20).astype(np.float32), 16000)


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_bundle_of_the_docs_runs(tmp_path):
    manifest, *_ = blocks("docs/guides/manifests.md", "yaml")
    *_, profile = blocks("docs/guides/precision.md", "yaml")
    path = tmp_path / "bundle.yaml"
    path.write_text(manifest)
    assert not composer.check(path).problems
    with composer.load(path) as bundle:
        assert bundle.run(audio=CLIP).outputs["mel"].shape == (80, 100)
    path = tmp_path / "here.yaml"
    path.write_text(profile)
    read = read_profile(path)
    assert (read.memory, read.placement("decoder", {"device"}).get("device")) == (
        8_000_000_000,
        "cpu",
    )
    assert read.precision == {"decoder": "float32"}


def test_the_bundle_of_the_readme_is_sound(tmp_path):
    (manifest,) = blocks("README.md", "yaml")
    path = tmp_path / "bundle.yaml"
    path.write_text(manifest.replace('"..."', '"<|audio_start|>{speech}{language}"'))
    report = composer.check(path, sources={"repo": replica.mega_asr(tmp_path / "repo")})
    assert not report.problems


def test_the_python_of_the_readme_runs(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    (code,) = blocks("README.md", "python")
    exec(code, {})
    assert capsys.readouterr().out == "nine one eight one one eight three"


def test_the_numbers_of_the_readme_are_measured():
    """What is not in the benchmarks is computed, here or in tests/test_peers_bugs.py."""
    readme = " ".join((ROOT / "README.md").read_text().split())
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    measured = " ".join(page.split())
    assert f"{len(TESTED) + len(NOT_OURS)} faults" in readme
    assert f"a factor of {2560**0.5:.1f} in Gemma-4-E4B" in readme
    assert "For 25 % of all lengths up to 30 s" in readme
    assert "266 kB of a bundle of 12.9 GB" in readme
    assert "serves a bundle of 12.9 GB in four shards" in measured
    assert "check takes 12 requests and 266 kB of bodies" in measured
    table = page.partition("**qwen3-asr**")[2].partition("**gemma4**")[0]
    assert "takes mlx-audio 10.2 times and transformers 2.24 times" in readme
    assert re.search(r"\| mlx-audio 0.6.2 \| 10.2 ", table)
    assert re.search(r"\| transformers \| 2.24 ", table)
    assert "MLX 3.4 times the processor time for a token, and 5.0 times for a prompt" in readme
    table = page.partition("## Gemma-4 on ONNX Runtime")[2].partition("\n## ")[0]
    assert re.search(r"\| `mlx.gemma4` \| 5.0\d \(.*\| 3.4\d \(", table)


def test_what_the_readme_runs_is_there():
    commands = "\n".join(blocks("README.md", "sh"))
    for script in re.findall(r"(?m)^scripts/\w+", commands):
        assert os.access(ROOT / script, os.X_OK)
    assert list(ROOT.glob("bundles/mega-asr-mini/clips/*.flac"))
    (picture,) = re.findall(r'<img src="([^"]+)"', (ROOT / "README.md").read_text())
    assert (ROOT / picture).exists()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"named `{project['name']}`" in (ROOT / "README.md").read_text()


def test_the_map_of_contributing_leads_to_places():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(re.findall(r"`(composer\.\w+)`", text)) == set(project["entry-points"])
    table = text.partition("## What to touch")[2].partition("## Habits")[0]
    folders = re.findall(r"`([\w/]+)/(?:test_)?NAME\.py`", table)
    assert len(folders) == 9
    for folder in folders:
        assert list((ROOT / folder).glob("*.py")), folder


def test_words_are_plain():
    """The documentation uses the standard terms: check, compare, read, report, continue."""
    unclear = re.compile(
        r"\b(heard|hears|gone on|goes on|told|held (to|against)|holds? \w+ against|has not(?! been)"
        r"|anew|dribbl\w+|in silence|without a word)\b"
    )
    own = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    generated = {"cli.md", "reference.md", "checkpoints.md"}
    for page in [*own, *(ROOT / "docs").rglob("*.md"), *(ROOT / "bundles").rglob("*.md")]:
        if page.name in generated:
            continue
        prose = re.sub(r"(?s)```.*?```|`[^`]*`", "", page.read_text())
        found = [match[0] for match in unclear.finditer(prose)]
        assert not found, f"{page.relative_to(ROOT)}: {found}"


# Each of these once had a meaning of its own in the code. Plain English: the held-out set of an
# evaluation, text that is held back, numbers that are far apart; `tell` is what files call it.
DIALECT = frozenset(
    "abreast admit admits apart aside borrow borrowed borrows brings hear heard hears held keeper "
    "said stranger strangers tell tells told weigh weighed weighs wish wishes".split()
)
PLAIN = re.compile(r"held[-_\s](out|back)|(far|mapped|chunk) apart|apart from", re.IGNORECASE)
FILES_CALL_IT = {"tell"}
FOLDERS = "benchmarks components composer converters mirror scripts tests training".split()


def words(text):
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", PLAIN.sub("", text))}


def named(tree):
    """Yield the names that code gives or uses, and its docstrings."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, documented):
            yield ast.get_docstring(node) or ""
        for kind in ("name", "arg", "id", "attr"):
            name = getattr(node, kind, None)
            if isinstance(name, str) and name not in FILES_CALL_IT:
                yield name


def test_words_are_plain_in_code():
    """Names and docstrings have no words of their own where the field has one."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    found = []
    for path in paths:
        for text in named(ast.parse(path.read_text())):
            if wrong := words(text) & DIALECT:
                found.append(f"{path.relative_to(ROOT)}: {', '.join(sorted(wrong))} in {text[:70]}")
    assert found == []


def test_commands_exist():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shells = "\n".join("\n".join(blocks(page, "sh")) for page in pages)
    commands = set(re.findall(r"^composer (\w+)", shells, re.MULTILINE))
    shown = subprocess.run(
        [sys.executable, "-m", "composer", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert commands <= set(re.findall(r"^  (\w+)", shown, re.MULTILINE))


def test_links_lead_somewhere():
    own = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for page in [*own, *(ROOT / "docs").rglob("*.md"), *(ROOT / "bundles").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
