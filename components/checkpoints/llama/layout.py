"""Which tensors a decoder has, and how each module of a checkpoint is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from composer.core.errors import Problem
from composer.core.suggest import some
from composer.formats.quantization import Scheme

from ..checkpoint import Checkpoint, shown
from ..rope import DERIVED
from .settings import ATTENTION, MLP, Settings

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor

TABLE, NORM, HEAD = "model.embed_tokens", "model.norm", "lm_head"


@dataclass(frozen=True)
class Module:
    """A module of the model: parameters by name, logical shape, and its scheme if packed."""

    path: str
    shape: tuple[int, ...]
    parts: Mapping[str, Tensor]
    scheme: Scheme | None

    @property
    def stored(self) -> int:
        """Return the bytes that it takes in its file."""
        return sum(tensor.nbytes for tensor in self.parts.values())

    def packs(self, native: bool) -> bool:
        """Tell whether it stays packed: 4 bits always, 8 where activations are int8."""
        return self.scheme is not None and (native or self.scheme.bits == 4)

    def nbytes(self, native: bool) -> int:
        """Return the bytes that it takes as it is computed."""
        bias = self.parts["bias"].shape[0] * 4 if "bias" in self.parts else 0
        count = prod(self.shape)
        if self.scheme is None or not self.packs(native):
            return count * 4 + bias
        return count * self.scheme.bits // 8 + count // self.scheme.group_size * 8 + bias


def shapes(settings: Settings, rows: int, tied: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the path and the shape of every module."""
    yield TABLE, (rows, settings.width)
    yield NORM, (settings.width,)
    if not tied:
        yield HEAD, (rows, settings.width)
    queries, keys = settings.heads * settings.head, settings.kv_heads * settings.head
    for number in range(settings.layers):
        layer = f"model.layers.{number}"
        yield f"{layer}.input_layernorm", (settings.width,)
        yield f"{layer}.post_attention_layernorm", (settings.width,)
        for name, size in zip(ATTENTION[:3], (queries, keys, keys), strict=True):
            yield f"{layer}.self_attn.{name}", (size, settings.width)
        yield f"{layer}.self_attn.{ATTENTION[3]}", (settings.width, queries)
        for name in ("q_norm", "k_norm") if settings.normed else ():
            yield f"{layer}.self_attn.{name}", (settings.head,)
        for name in MLP[:2]:
            yield f"{layer}.mlp.{name}", (settings.inner, settings.width)
        yield f"{layer}.mlp.{MLP[2]}", (settings.width, settings.inner)


def modules(checkpoint: Checkpoint, settings: Settings) -> tuple[dict[str, Module], list[Problem]]:
    """Return every module by its path, or what is missing, unexpected or of another shape."""
    tensors, schemes = checkpoint.tensors, checkpoint.schemes
    found: dict[str, Module] = {}
    missing: list[str] = []
    problems: list[Problem] = []
    read: set[str] = set()
    tied = f"{HEAD}.weight" not in tensors
    for path, shape in shapes(settings, checkpoint.table.rows, tied):
        scheme = schemes.get(path) if len(shape) == 2 else None
        names = ["weight", *(["scales", "biases"] if scheme else [])]
        names += ["bias"] if path.rpartition(".")[2] in settings.biased else []
        parts = {n: tensors[f"{path}.{n}"] for n in names if f"{path}.{n}" in tensors}
        missing += [f"{path}.{name}" for name in names if name not in parts]
        read |= {tensor.name for tensor in parts.values()}
        module = Module(path, shape, parts, scheme)
        problems += [*_misshapen(module), *_unpacked(module)]
        found[path] = module
    surplus = [name for name in tensors if name not in read and not DERIVED.search(name)]
    for what, group in (("unexpected", surplus), ("missing", missing)):
        if group:
            are = "tensor is" if len(group) == 1 else "tensors are"
            message = f"{len(group)} {are} {what}: {some(sorted(group))}"
            problems.insert(0, Problem("W255", message))
    return found, problems


def _misshapen(module: Module) -> Iterator[Problem]:
    bits = module.scheme.bits if module.scheme else 32
    for name, tensor in module.parts.items():
        wanted = module.shape[:1] if name == "bias" else module.shape
        has = tensor.shape
        if name == "weight" and module.scheme:
            has = (*has[:-1], has[-1] * 32 // bits)
        if name in ("weight", "bias") and has != wanted:
            what = f"{tensor.name} has the shape {list(has)}, but the model has {list(wanted)}"
            yield Problem("W255", what, causes=(shown(tensor),))


def _unpacked(module: Module) -> Iterator[Problem]:
    scheme = module.scheme
    if scheme and (scheme.mode != "affine" or scheme.bits not in (4, 8)):
        yield Problem(
            "W256",
            f"{module.path} is {scheme.bits} bits, {scheme.mode}, which onnx.lm does not compute",
            hint="quantize to 4 or 8 bits, affine, by mlx_lm.convert, or use mlx.lm",
        )
