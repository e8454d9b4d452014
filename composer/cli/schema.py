"""`composer schema`."""

from __future__ import annotations

from composer.cli.printing import say


def schema() -> None:
    """Print the JSON Schema of manifests.

    Editors use it to complete and check what you type.

    Example: composer schema > bundle.schema.json
    """
    from composer.manifest.schema import schema_text

    say(schema_text(), end="")
