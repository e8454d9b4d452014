"""Print the JSON Schema of manifests.

Editors use it to complete and check what you type.

Example: composer schema > bundle.schema.json
"""

from __future__ import annotations

from composer.cli.printing import echo


def command() -> None:
    from composer.manifest.schema import schema_text

    echo(schema_text(), end="")
