"""Packages of components as pip leaves them: an importable module and its entry points."""

import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from composer.core import registry


@contextmanager
def installed(project: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install what a pyproject.toml declares; its modules lie in `site` already."""
    declared = tomllib.loads(project)["project"]
    name, version = declared["name"], declared["version"]
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines, modules = [], set()
    for group, entries in declared["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
        modules |= {value.partition(":")[0].partition(".")[0] for value in entries.values()}
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(site)
    registry.rediscover()
    yield
    for each in [*sys.modules]:
        if each.partition(".")[0] in modules:
            del sys.modules[each]
    monkeypatch.undo()
    registry.rediscover()
