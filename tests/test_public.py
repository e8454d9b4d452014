"""The public names: each is written once, and is imported when it is first used."""

import inspect
import subprocess
import sys

import pytest

import composer


@pytest.mark.parametrize("name", composer.__all__)
def test_each_public_name_is_there_and_explained(name):
    found = getattr(composer, name)
    assert name in dir(composer)
    if inspect.isclass(found) or inspect.isfunction(found):
        assert inspect.getdoc(found)


def test_nothing_else_is_public():
    with pytest.raises(AttributeError, match="module 'composer' has no attribute 'transcripe'"):
        _ = composer.transcripe


def test_a_star_imports_every_name():
    names = {}
    exec("from composer import *", names)
    assert set(composer.__all__) <= set(names)


@pytest.mark.parametrize("use", ["composer", "composer.__all__"])
def test_names_import_nothing_until_they_are_used(use):
    program = f"import sys, composer\n{use}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = {name for name in done.stdout.split() if name.startswith("composer.")}
    assert loaded == {"composer.core", "composer.core.safe_path", "composer.core.telemetry"}


def test_functions_are_not_hidden_by_the_packages_they_import():
    """A package of composer has no function's name: importing it would take the name's place."""
    program = (
        "import composer\nfor name in composer.__all__: getattr(composer, name)\n"
        "import types\nprint(*(name for name in composer.__all__\n"
        "        if isinstance(getattr(composer, name), types.ModuleType)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("", 0)
