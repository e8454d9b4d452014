"""Compare the packages that a manifest names for kinds and operators with those installed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from composer.core import registry
from composer.core.errors import Problem

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from composer.manifest import Manifest


def install_hint(manifest: Manifest, name: str) -> str | None:
    """Return how to install what provides a kind or an operator, where the manifest says it."""
    text = manifest.packages.get(name)
    if text is None:
        return None
    install = f"pip install '{text}'"
    return f"the bundle says where it comes from: {install}; a package is code, so look at it first"


def package_problems(manifest: Manifest) -> list[Problem]:
    """Return what differs: another version, another package, and names that nothing uses."""
    if not manifest.packages:
        return []
    from packaging.requirements import InvalidRequirement, Requirement

    problems = []
    used = {entry.use for entry in manifest.components.values()}
    for task in manifest.tasks.values():
        used.update(node.run for node in task.graph.values())
    for name, text in manifest.packages.items():
        place = manifest.place("packages", name)
        if name not in used and not manifest.variants:
            message = f"no component is a '{name}', and no node runs one"
            hint = "remove its package"
            at = manifest.place("packages", name, key=True)
            problems.append(Problem("L306", message, at, hint=hint, severity="warning"))
        found = registry.distribution(name)
        try:
            wanted = Requirement(text)
        except InvalidRequirement as error:
            message = f"'{text}' is not a package with versions: {str(error).splitlines()[0]}"
            problems.append(Problem("W232", message, place, hint="such as my-package>=1.2,<2"))
            continue
        if found and not _satisfies(wanted, *found):
            message = f"{name} comes from {found[0]} {found[1]} here, and the bundle needs '{text}'"
            hint = f"pip install '{text}'"
            problems.append(Problem("W232", message, place, hint=hint))
    return problems


def _satisfies(wanted: Requirement, package: str, version: str) -> bool:
    from packaging.utils import canonicalize_name

    same = canonicalize_name(wanted.name) == canonicalize_name(package)
    return same and wanted.specifier.contains(version, prereleases=True)
