"""What the headers of a language model's folder say, once they agree with each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.core.problems import Problems
from composer.core.suggest import some
from composer.formats.file_problems import show_bare
from composer.formats.quantization import Scheme
from composer.formats.safetensors import TensorIndex

from . import packing
from .config_keys.impossible import impossible_values
from .config_keys.key_positions import with_place
from .embedding_table import FLOATS, TABLE, EmbeddingTable, describe_tensor, find_table
from .folder import config_file
from .generation_config import read_generation
from .ggml_blocks import SIZES
from .head_copy import HEAD, copy_warning, find_stored_tied_head
from .tokenizer import Vocabulary

if TYPE_CHECKING:
    from composer.formats import Headers
    from composer.formats.safetensors import Tensor

LAYERS, POSITIONS = 10_000, 2**40  # far beyond any model


@dataclass(frozen=True)
class Checkpoint:
    """A language model's folder; `schemes` says how each quantized module is packed.

    `stop` are the ids that end a text. `head_copy` is a head that is not among the tensors since
    the embeddings are the head.
    """

    location: Location
    config: Mapping[str, Any]
    tensors: TensorIndex
    schemes: Mapping[str, Scheme]
    table: EmbeddingTable
    stop: frozenset[int]
    notes: tuple[Problem, ...]
    head_copy: Tensor | None

    @property
    def file(self) -> Location:
        """Where its config stands."""
        return config_file(self.location)

    @property
    def vocabulary(self) -> Vocabulary:
        """What its ids are compared with."""
        return Vocabulary(self.table.rows, self.table.witness, self.stop)


def build_checkpoint(
    location: Location,
    headers: Headers,
    config: Mapping[str, Any],
    tensors: TensorIndex,
    found: Iterable[Problem] = (),
) -> Checkpoint:
    """Check the config of a language model against its tensors; `found` was found before."""
    place = Place(str(config_file(location)))
    schemes, problems = packing.read_schemes(location, config, tensors)
    problems = [*problems, *found, *_dtypes(tensors, schemes)]
    table = find_table(location, tensors, schemes)
    if isinstance(table, Problem):
        problems = [*problems, *_head(config, tensors), table]
        raise ComposerError(with_place(problems, place))
    head_copy = None
    if text_config_value(config, "tie_word_embeddings") is True:
        head_copy = find_stored_tied_head(tensors, table)
    if head_copy:
        problems.append(copy_warning(head_copy, table))
        rest = {name: tensor for name, tensor in tensors.items() if tensor != head_copy}
        tensors = TensorIndex(rest, tensors.metadata, tensors.files)
    problems += _head(config, tensors)
    problems += _sizes(config, tensors, table)
    file = config_file(location)
    stated = {**config, "eos_token_id": text_config_value(config, "eos_token_id")}
    folder = None if file == location else location
    stop, notes = read_generation(folder, file, stated, headers, table.rows, table.witness)
    placed = with_place([*problems, *notes], place)
    placed.raise_any()
    return Checkpoint(location, config, tensors, schemes, table, stop, tuple(placed), head_copy)


def text_config_value(config: Mapping[str, Any], key: str) -> Any:
    """Return a setting of the language model, wherever the config nests it."""
    inner = config.get("text_config")
    if key in config or not isinstance(inner, dict):
        return config.get(key)
    return inner.get(key)


def mixed_dtypes(tensors: Mapping[str, Tensor]) -> list[Problem]:
    """Report where stored dtypes differ, since the widest of them then decides."""
    dtypes = {tensor.dtype: name for name, tensor in tensors.items() if tensor.dtype in FLOATS}
    problems = Problems()
    if len(dtypes) > 1:
        problems.report(
            "L323",
            f"weights are stored in {' and '.join(sorted(dtypes))}, so that it runs in the widest "
            "from where that one comes in",
            *(f"{dtype}: {name}" for dtype, name in sorted(dtypes.items())),
            hint="say a precision: float32, float16 or bfloat16",
            severity="warning",
        )
    return problems


def _sizes(
    config: Mapping[str, Any], tensors: TensorIndex, table: EmbeddingTable
) -> Iterator[Problem]:
    """Check the sizes of the config against the shapes of the tensors."""
    yield from impossible_values(config)
    for key, value in (("hidden_size", table.width), ("vocab_size", table.rows)):
        stated = text_config_value(config, key)
        if stated is not None and (type(stated) is not int or stated != value):
            yield Problem(
                "W241",
                f"{key} is {show_bare(stated)} but the embeddings have {value}",
                causes=(f"{value} comes from {table.witness}",),
            )
    yield from _layers(config, tensors, table)
    head = tensors.get(table.name.removesuffix(TABLE) + HEAD) or tensors.get(HEAD)
    if head and head.shape[:1] != (table.rows,):
        yield Problem(
            "W241",
            f"the head is {list(head.shape)} but the embeddings have {table.rows} rows",
            causes=(describe_tensor(head), table.witness),
        )


def _layers(
    config: Mapping[str, Any], tensors: TensorIndex, table: EmbeddingTable
) -> Iterator[Problem]:
    """Check num_hidden_layers against the layers that have tensors, and the limit of positions."""
    stated = text_config_value(config, "num_hidden_layers")
    unsound = list(_limit("num_hidden_layers", stated, LAYERS))
    yield from unsound
    positions = text_config_value(config, "max_position_embeddings")
    yield from _limit("max_position_embeddings", positions, POSITIONS)
    if stated is None or unsound:
        return
    pattern = re.compile(re.escape(table.prefix) + r"layers\.(\d+)\.")
    layers = {int(match[1]) for match in map(pattern.match, tensors) if match}
    wanted = set(range(stated))
    causes = []
    if missing := sorted(wanted - layers):
        causes.append(f"no tensors of layers {some(missing)}")
    if more := sorted(layers - wanted):
        causes.append(f"tensors of layers {some(more)} too")
    if causes:
        yield Problem(
            "W241",
            f"num_hidden_layers is {stated} but there are tensors of {len(layers)} layers",
            causes=tuple(causes),
        )


def _limit(key: str, stated: Any, most: int) -> Iterator[Problem]:
    """Report a number of the config that is none, or is beyond any use."""
    if stated is not None and not (type(stated) is int and 0 < stated <= most):
        yield Problem("W241", f"{key} is {show_bare(stated)}; expected 1 to {most}")


def _head(config: Mapping[str, Any], tensors: TensorIndex) -> Iterator[Problem]:
    """Check tie_word_embeddings against the presence of a head."""
    tied = text_config_value(config, "tie_word_embeddings")
    heads = [tensor for name, tensor in tensors.items() if f".{name}".endswith(f".{HEAD}")]
    if tied is True and heads:
        yield Problem(
            "W242",
            "tie_word_embeddings is true but a head is stored, which would be ignored",
            causes=tuple(describe_tensor(head) for head in heads),
            hint="set tie_word_embeddings to false, or remove the tensor if it equals the "
            "embeddings",
        )
    if tied is False and not heads:
        yield Problem(
            "W242",
            f"tie_word_embeddings is false but there is no {HEAD}",
            hint="set tie_word_embeddings to true if the head is the embeddings",
        )


def _dtypes(tensors: TensorIndex, schemes: Mapping[str, Scheme]) -> Iterator[Problem]:
    """Refuse what is stored in a dtype that nothing here runs in."""
    unpacked, odd = 0, []
    for tensor in tensors.values():
        if tensor.name.rpartition(".")[0] in schemes:
            continue
        unpacked += 1
        if tensor.dtype not in (*FLOATS, "u32", *SIZES):
            odd.append(describe_tensor(tensor))
    if odd:
        yield Problem(
            "W246",
            f"stored in a dtype that no decoder runs in: {len(odd)} of {unpacked} tensors",
            causes=tuple(odd[:8]),
            hint="convert them to float32, float16 or bfloat16",
        )
