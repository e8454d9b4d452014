"""The shipped miniatures, loaded or copied, with their clips and what they refuse."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import composer
from composer import ComposerError
from composer.sources.shipped import shipped_folder

RATE = 16_000


@pytest.fixture(scope="module")
def mega():
    with composer.load("mega-asr-mini") as bundle:
        yield bundle


@pytest.fixture(scope="module")
def elderwise():
    with composer.load("elderwise-mini") as bundle:
        yield bundle


@pytest.fixture
def copied(tmp_path):
    """Return a copy of a miniature to damage."""

    def make(name="mega-asr-mini"):
        return Path(shutil.copytree(shipped_folder("bundles") / name, tmp_path / name))

    return make


@pytest.fixture(scope="module")
def unsplit(tmp_path_factory):
    """Return the first miniature with a manifest that runs any clip whole, even silence."""
    folder = shipped_folder("bundles") / "mega-asr-mini"
    text = (folder / "bundle.yaml").read_text()
    path = tmp_path_factory.mktemp("unsplit") / "bundle.yaml"
    path.write_text(without_split(text))
    with composer.load(path, sources={"repo": folder}) as bundle:
        yield bundle


def without_split(text):
    """Return the manifest of a miniature that cuts nothing."""
    found = re.sub(r"\{type: audio, split: .*?\}\}", "audio", re.sub("  voice: .*\n", "", text))
    assert found != text
    return found


def noise(seconds):
    size = round(RATE * seconds)
    return (0.1 * np.random.default_rng(size).standard_normal(size, np.float32), RATE)


def clips(name):
    return sorted((shipped_folder("bundles") / name / "clips").glob("*.flac"))


def problems(run, *arguments, **given):
    with pytest.raises(ComposerError) as error_text:
        run(*arguments, **given)
    return [problem.code for problem in error_text.value.problems], str(error_text.value)
