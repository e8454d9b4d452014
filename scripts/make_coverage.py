"""Write the page of published systems: what runs by its ID, how, and what is verified of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from composer.jobs.catalogue import ShippedBundle, catalogue
from composer.jobs.next_command import next_command
from composer.manifest import Manifest, read_manifest
from composer.sources.default_manifests import default_manifests
from composer.sources.shipped import shipped_bundles

HEAD = """# Published systems

What runs by its ID, the command, and what is verified of it.

| | |
|---|---|
| layout | a folder with the published names, dtypes and shapes passes the check |
| golden | a small model of this shape with random weights gives the numbers of transformers |
| miniature | its weights ship too, and its answers are tested |

No published weights were downloaded for this page: nothing here is a claim about them.
"""
LINE = "|---|---|---|---|"


def coverage_page() -> str:
    """Return the page, from the manifests and the catalogue."""
    parts = [HEAD]
    parts.append("## With a manifest that ships\n\n| ID | command | bundle | verified |\n" + LINE)
    parts[-1] += "".join(f"\n{row}" for row in _shipped_rows())
    parts.append(
        "## Without a manifest\n\nAny checkpoint that a default manifest recognises runs, not "
        "these alone; `composer list\n--families` prints what each recognises.\n\n"
        "| ID, for example | command | default manifest | verified |\n" + LINE
    )
    parts[-1] += "".join(f"\n{row}" for row in _family_rows())
    open_ends = []
    for each in (*catalogue().bundles, *catalogue().families):
        if each.unsettled:
            open_ends.append(f"- `{each.name}`: {each.unsettled}.")
    parts.append("What the files of a checkpoint do not settle:\n\n" + "\n".join(open_ends))
    rows = []
    for name, planned in catalogue().planned.items():
        ids = ", ".join(f"`{id}`" for id in planned.publishes) or "-"
        rows.append(f"| `{name}` | {ids} | {planned.summary} | {'; '.join(planned.missing)} |")
    if rows:
        parts.append("## Planned\n\n| name | ID | what | missing |\n" + "\n".join([LINE, *rows]))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _shipped_rows() -> Iterator[str]:
    paths = shipped_bundles()
    for bundle in catalogue().bundles:
        manifest = read_manifest(paths[bundle.name])
        verified = ", ".join(bundle.verified)
        for id in _ids(bundle, manifest):
            yield f"| `{id}` | `{next_command(manifest, id)}` | `{bundle.name}` | {verified} |"


def _ids(bundle: ShippedBundle, manifest: Manifest) -> tuple[str, ...]:
    """Return the repositories that a bundle is for, or its own name where its weights ship."""
    return tuple(manifest.publishes) or (bundle.name,)


def _family_rows() -> Iterator[str]:
    manifests: Mapping[str, Manifest] = default_manifests()
    for family in catalogue().families:
        for id in family.ids:
            command = next_command(manifests[family.name], id)
            verified = ", ".join(family.verified)
            yield f"| `{id}` | `{command}` | `{family.name}` | {verified} |"
