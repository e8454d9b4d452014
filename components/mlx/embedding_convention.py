"""Whether a model of mlx-lm continues what its own embedding table gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from composer.core.errors import ComposerError, Problem


def check_embedding_convention(model: Any, table: Callable[[Any], Any], rows: int) -> None:
    """Refuse an architecture that does not accept the output of its `table` of so many rows."""
    import mlx.core as mx

    ids = mx.array([rows // 2, rows // 3])
    direct = model(ids[None])[0].astype(mx.float32)
    from_embeddings = model(None, input_embeddings=table(ids)[None])[0].astype(mx.float32)
    differ = mx.abs(direct - from_embeddings).max() > 1e-2 * mx.abs(direct).max()
    if differ.item():
        raise ComposerError(
            Problem(
                "R517",
                f"mlx-lm's {model.model_type} changes embeddings before it takes them: "
                "ids and their embeddings give other logits",
                hint="such an architecture needs a component that knows its convention",
            )
        )
