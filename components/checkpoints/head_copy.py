"""A head that is stored though the embeddings are the head, as Qwen3-ASR's releases have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from composer.core.errors import Problem

from .embedding_table import FLOATS, TABLE, EmbeddingTable, describe_tensor

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor

HEAD = "lm_head.weight"


def find_stored_tied_head(tensors: Mapping[str, Tensor], table: EmbeddingTable) -> Tensor | None:
    """Return a head that can be the embeddings once more: of their shape and dtype, not packed."""
    stored = tensors[table.name]
    before = table.name.removesuffix(TABLE).removesuffix("model.")
    head = tensors.get(before + HEAD) or tensors.get(HEAD)
    if head is None or head.dtype not in FLOATS:
        return None
    if (head.shape, head.dtype) != (stored.shape, stored.dtype):
        return None
    return head


def copy_warning(head: Tensor, table: EmbeddingTable) -> Problem:
    """Say that the head is left out, and what loading makes sure of."""
    return Problem(
        "L333",
        "the embeddings are stored a second time as the head, which tie_word_embeddings leaves "
        "out; loading compares the two",
        causes=(describe_tensor(head), table.witness),
        severity="warning",
    )
