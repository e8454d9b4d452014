"""A decoder's checkpoint, read as the network that its model_type names."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composer.core.component import Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import listed
from composer.formats.file_problems import show
from composer.formats.quantization import Scheme
from composer.generation.decoder import AHEAD

from ..checkpoints import packing
from ..checkpoints.checkpoint import Checkpoint, build_checkpoint
from ..checkpoints.config_keys.key_positions import with_key_positions, with_place
from ..checkpoints.folder import open_folder, prefix_hint
from ..checkpoints.modules import BOUNDS, Module, read_modules
from ..checkpoints.part_names import WHOLE, PartNames
from .blocks import Array, DecoderBlocks
from .cast_texts import in_digits, widened
from .decoder_config import DecoderConfigReader

if TYPE_CHECKING:
    from composer.formats import Headers

DEFINES = re.compile(r"^ARCHITECTURE\b", re.MULTILINE)
TABLE, HEAD = "model.embed_tokens", "lm_head"
Shape = tuple[str, tuple[int, ...]]  # of a tensor, with its name


@dataclass(frozen=True)
class Architecture:
    """What a file of this package has that computes a decoder.

    `read_settings` reads a config, `tensors` yields names and unpacked shapes, and
    `forward(blocks, settings, embeddings)` returns the logits of the chosen rows. With
    `bidirectional_blocks` it takes the input `ahead` too, where it is a part of a larger model.
    """

    model_types: tuple[str, ...]
    read_settings: Callable[[DecoderConfigReader], Any]
    tensors: Callable[[Any], Iterable[Shape]]
    forward: Callable[..., Array]
    bidirectional_blocks: bool = False


def linear(name: str, size: int, width: int, bias: bool = False) -> Iterator[Shape]:
    """Yield the tensors of a Linear."""
    yield f"{name}.weight", (size, width)
    if bias:
        yield f"{name}.bias", (size,)


@cache
def architectures() -> dict[str, Architecture]:
    """Return what each model_type is computed by: every file beside this one is asked.

    Those that define no ARCHITECTURE are not imported, since a check waits for what they import.
    """
    found: dict[str, Architecture] = {}
    files: list[Path] = []
    for folder in import_module(__package__ or "").__path__:
        files += Path(folder).glob("*.py")
    for file in sorted(files):
        if DEFINES.search(file.read_text(encoding="utf-8")):
            module = import_module(f"{__package__}.{file.stem}")
            found |= dict.fromkeys(module.ARCHITECTURE.model_types, module.ARCHITECTURE)
    return found


@dataclass(frozen=True)
class ParsedDecoder:
    """A checkpoint that is understood; `int8_activations` are rounded before they are multiplied.

    `positions` is how many a sequence has at most; `names` are those that are stored.
    `inputs` has the shape of a row of each input that the network takes beside embeddings. `recipe`
    is how modules that are stored as floats are packed when they are read. One that is not `headed`
    ends with its last norm: there are no logits.
    """

    checkpoint: Checkpoint
    forward: Callable[..., Array]
    settings: Any
    positions: int | None
    modules: Mapping[str, Module]
    names: PartNames = WHOLE
    int8_activations: bool = False
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    recipe: Mapping[str, Scheme] = field(default_factory=dict)
    headed: bool = field(default=True, kw_only=True)

    @property
    def table(self) -> Module:
        """The embeddings."""
        return self.modules[self.checkpoint.table.name.removesuffix(".weight")]

    @property
    def head(self) -> Module:
        """What the logits are products with."""
        return self.modules.get(HEAD, self.table)

    @property
    def _computed(self) -> Iterator[Module]:
        """The modules that are multiplied by: the embeddings are where they are the head."""
        for module in self.modules.values():
            if module is not self.table or self._tied:
                yield module

    @property
    def _tied(self) -> bool:
        return self.headed and HEAD not in self.modules

    @property
    def packed(self) -> bool:
        """Return whether a module is packed."""
        return any(module.scheme for module in self._computed)

    @property
    def nbytes(self) -> int:
        """Return what the weights take once they are loaded."""
        nbytes = 0
        for module in self._computed:
            if module is self.head and module.digit_group_size:
                nbytes += module.nbytes_in_digits(module.digit_group_size)
                continue
            nbytes += module.nbytes(self.int8_activations)
            if self.headed and module is self.head and module.scheme and not self.int8_activations:
                nbytes += module.shape[0] * BOUNDS
        return nbytes

    @property
    def mapped(self) -> int:
        """Return the bytes of embeddings that stay in their file."""
        return 0 if self._tied else self.table.stored_nbytes

    @property
    def casts(self) -> tuple[str, ...]:
        """Describe how many modules of each form are widened, and what they take then."""
        forms: dict[str, list[Module]] = {}
        for module in self._computed:
            dtype = module.parts["weight"].dtype
            digits = module is self.head and module.digit_group_size
            if module.scheme is None and dtype != "f32" and not digits:
                forms.setdefault(module.form, []).append(module)
        casts = [widened(form, forms[form]) for form in sorted(forms)]
        if self.headed and self.head.digit_group_size:
            casts.append(in_digits(self.head, self.head.digit_group_size))
        return tuple(casts)

    def write(self, blocks: DecoderBlocks, embeds: Array, **more: Array) -> Array:
        """Run the network over blocks: logits of the chosen rows of embeddings.

        `more` are its other inputs, row by row.
        """
        return self.forward(blocks, self.settings, embeds, **more)


def read_decoder(
    spec: Spec,
    headers: Headers,
    found: Iterable[Problem] = (),
    int8_activations: bool = False,
) -> ParsedDecoder:
    """Read a component's headers; raise ComposerError with everything that contradicts.

    `found` are problems of the component itself. Its recipe is for weights that are floats.
    """
    assert spec.weights is not None
    folder = open_folder(spec.weights, headers, spec.config.prefix, spec.config.head)
    values = folder.config
    checkpoint = build_checkpoint(
        folder.location, headers, values, folder.tensors, [*found, *folder.notes()]
    )
    recipe, notes = packing.plan_affine(spec.recipe, checkpoint.tensors, checkpoint.schemes)
    checkpoint = replace(checkpoint, notes=(*checkpoint.notes, *notes))
    kind = str(values.get("model_type"))
    if (architecture := architectures().get(kind)) is None:
        placed = [(("model_type",), _unknown(kind, prefix_hint(folder)))]
        raise ComposerError(with_key_positions(checkpoint.file, headers, placed, folder.keys))
    table, tied = checkpoint.table, f"{HEAD}.weight" not in checkpoint.tensors
    config = DecoderConfigReader(values, table.width, table.rows, tied, spec.config.ignore)
    settings = architecture.read_settings(config)
    config.check_unread()
    problems = list(with_key_positions(checkpoint.file, headers, config.problems, folder.keys))
    modules: dict[str, Module] = {}
    if not problems:
        modules, problems = read_modules(checkpoint, architecture.tensors(settings), recipe)
    if problems:
        raise ComposerError(with_place(problems, Place(str(checkpoint.file)))[:12])
    return ParsedDecoder(
        checkpoint,
        architecture.forward,
        settings,
        config.positions,
        modules,
        folder.names,
        int8_activations,
        {AHEAD: ()} if has_bidirectional_blocks(kind, folder.keys) else {},
        recipe=recipe,
        headed=spec.config.head,
    )


def has_bidirectional_blocks(kind: str, keys: Sequence[str]) -> bool:
    """Return whether rows of a picture, or of audio, see each other both ways.

    They do in the decoder of a larger model, whose config `keys` lead to; text alone has none.
    """
    architecture = architectures().get(kind)
    return architecture is not None and architecture.bidirectional_blocks and bool(keys)


def find_tensor_problems(
    checkpoint: Checkpoint, values: Mapping[str, Any], ignore: Collection[str]
) -> list[Problem]:
    """Return which tensors are missing, unexpected or misshapen, where a network here has them all.

    What this package does not compute, an architecture, a config or a packing, is not judged.
    """
    architecture = architectures().get(str(values.get("model_type")))
    affine = all(scheme.mode == "affine" for scheme in checkpoint.schemes.values())
    if architecture is None or not affine:
        return []
    tied = f"{HEAD}.weight" not in checkpoint.tensors
    table = checkpoint.table
    config = DecoderConfigReader(values, table.width, table.rows, tied, ignore)
    settings = architecture.read_settings(config)
    if config.problems:
        return []
    _, problems = read_modules(checkpoint, architecture.tensors(settings))
    place = Place(str(checkpoint.file))
    return [replace(each, place=place) for each in problems if each.code == "W255"]


def _unknown(kind: str, hint: str | None) -> Problem:
    return Problem(
        "W254",
        f"composer has no network of its own for the model_type {show(kind)}",
        causes=(f"it has {listed(sorted(architectures()))}",),
        hint=hint or "mlx.lm takes more of them, which docs/checkpoints.md lists",
    )
