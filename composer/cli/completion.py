"""Complete what is typed at a shell: each function returns what may stand there.

A shell adds the names of files by itself.
"""

from __future__ import annotations

from collections.abc import Iterable


def complete_bundle(incomplete: str) -> list[str]:
    """Return the bundles that ship."""
    from composer.sources.shipped import shipped_bundles

    return _beginning(shipped_bundles(), incomplete)


def complete_precision(incomplete: str) -> list[str]:
    """Return what may stand behind `COMPONENT=`: the named recipes, and dtypes."""
    from composer.manifest.recipes import DTYPES, STORED, recipes

    component, equals, value = incomplete.rpartition("=")
    if not equals:
        return []
    return [f"{component}={name}" for name in _beginning((*recipes(), *DTYPES, STORED), value)]


def complete_format(incomplete: str) -> list[str]:
    """Return the output formats that are installed."""
    from composer.jobs.output_format import output_formats

    return _beginning(output_formats(), incomplete)


def complete_code(incomplete: str) -> list[str]:
    """Return the codes of errors."""
    from composer.sources.shipped import shipped_folder

    return _beginning(
        sorted(p.stem for p in shipped_folder("pages").glob("[A-Z]???.md")), incomplete
    )


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
