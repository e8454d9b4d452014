"""What the docs show is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import composer
from composer.core import registry
from composer.runtime.profile import read_profile
from tests import replica

ROOT = Path(__file__).parent.parent
CLIP = (np.sin(np.arange(16000) / 20).astype(np.float32), 16000)


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_component_of_the_docs_runs(tmp_path):
    (code,) = blocks("docs/guides/components.md", "python")
    (manifest,) = blocks("docs/guides/components.md", "yaml")
    scope = {}
    exec(code, scope)
    path = tmp_path / "bundle.yaml"
    path.write_text(manifest)
    registry.add(scope["Gain"])
    try:
        assert not composer.check(path).problems
        with composer.load(path) as bundle:
            result = bundle.run(audio=CLIP, taps=["mel"])
        expected = result.taps["mel"] * np.float32(10 ** (6 / 20))
        np.testing.assert_allclose(result.outputs["loud"], expected, rtol=1e-6)
    finally:
        registry.remove("example.gain")


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
