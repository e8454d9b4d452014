"""Compare a head that is left out with the embeddings."""

from __future__ import annotations

import numpy as np

from composer.core.errors import ComposerError, Place, Problem

from .checkpoint import Checkpoint
from .embedding_table import describe_tensor
from .row_reader import PIECE, RowReader


def require_equal_head(checkpoint: Checkpoint) -> None:
    """Compare a head that is left out with the embeddings; raise W242 where a number differs."""
    head = checkpoint.head_copy
    if head is None:
        return
    table, reader = checkpoint.tensors[checkpoint.table.name], RowReader()
    step = max(1, PIECE // (4 * head.shape[1]))
    for start in range(0, head.shape[0], step):
        end = min(start + step, head.shape[0])
        same = reader.rows(head, start, end) == reader.rows(table, start, end)
        if not same.all():
            row = start + int(np.flatnonzero(~same.all(axis=1))[0])
            raise ComposerError(
                Problem(
                    "W242",
                    "tie_word_embeddings is true but the stored head is not the embeddings",
                    Place(str(checkpoint.file)),
                    (f"row {row} is the first that differs", describe_tensor(head)),
                    hint="set tie_word_embeddings to false if the head was trained",
                )
            )
