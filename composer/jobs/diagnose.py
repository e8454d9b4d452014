"""Find out whether composer works on this machine."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version

from composer.core import registry
from composer.core.machine import memory_bytes, processor_count
from composer.evaluation.normalizer import normalizer, normalizers
from composer.jobs.output_format import output_format, output_formats
from composer.sources.shipped import shipped_bundles, shipped_folder

PACKAGE = "bundle-composer"
_Findings = Iterator[tuple[str, bool]]


@dataclass(frozen=True)
class DoctorLine:
    """One line on the machine, the packages, a backend, a component or the data, and whether it is
    as it should be.
    """

    section: str
    text: str
    ok: bool


def diagnose() -> Iterator[DoctorLine]:
    """Yield versions, and whether each backend, component and addition loads, as it is found out.

    Nothing is raised: what is broken is a DoctorLine that is not `ok`.
    """
    for section, probe in PROBES.items():
        for text, ok in probe():
            yield DoctorLine(section, text, ok)


def _machine() -> _Findings:
    yield f"Python {platform.python_version()} ({sys.executable})", sys.version_info >= (3, 11)
    yield f"{platform.system()} {platform.release()}, {platform.machine()}", True
    memory = memory_bytes() / 1e9
    yield f"{processor_count()} cores, {memory:.1f} GB of memory", True


def _packages() -> _Findings:
    yield f"composer {version(PACKAGE)}", True
    needs = [text for text in requires(PACKAGE) or () if "extra ==" not in text]
    everywhere = {_name(text) for text in needs if ";" not in text}
    for name in sorted(set(map(_name, needs)), key=str.lower):
        try:
            yield f"{name} {version(name)}", True
        except PackageNotFoundError:
            # What only some systems need is missed by the probe of its backend, where it is.
            yield f"{name} is not installed", name not in everywhere


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found
    return found[0]


def _backends() -> _Findings:
    for name in registry.backend_names():
        try:
            backend = registry.backend(name)
        except Exception as error:  # somebody's package is broken, whichever way
            yield f"{name}: {type(error).__name__}: {error}", False
        else:
            yield _tried(backend.title, backend.diagnose)


def _summary(name: str) -> str:
    return registry.component(name).summary


def _components() -> _Findings:
    for name in registry.component_names():
        yield _tried(name, partial(_summary, name))


def _added() -> _Findings:
    for name in registry.operator_names():
        yield _tried(f"operator {name}", lambda: registry.operator(name).summary)  # noqa: B023
    for name in normalizers():
        yield _tried(f"normaliser {name}", lambda: normalizer(name).source)  # noqa: B023
    for name in output_formats():
        yield _tried(f"output format {name}", lambda: output_format(name).summary)  # noqa: B023


def _data() -> _Findings:
    for folder in ("bundles", "schemas", "pages"):
        path = shipped_folder(folder)
        yield f"{folder}: {path}", path.is_dir()
    bundles = shipped_bundles()
    yield f"{len(bundles)} shipped bundles: {', '.join(bundles) or 'none'}", True


def _tried(name: str, probe: Callable[[], str]) -> tuple[str, bool]:
    try:
        return f"{name}: {probe()}", True
    except Exception as error:
        # Whatever a broken installation raises is what the user needs to read.
        return f"{name}: {type(error).__name__}: {error}", False


PROBES = {
    "machine": _machine,
    "packages": _packages,
    "backends": _backends,
    "components": _components,
    "operators, normalisers, output formats": _added,
    "data": _data,
}
