"""Report what is unknown, unused or in few bits in a Gemma-4 checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from composer.core.errors import Place, Problem
from composer.core.suggest import some
from composer.formats.quantization import Scheme
from composer.formats.safetensors import Tensor

from ..embedding_table import describe_tensor
from ..layout import count_are
from .settings import Gemma4Settings
from .text_part import TOWERS

ENOUGH = 8  # bits


def partly_stored_kv(settings: Gemma4Settings | None, unused: set[str]) -> Iterator[Problem]:
    """Report keys that some of the layers that share keys and values store and others do not."""
    if settings is None or not unused:
        return
    sharing = [number for number, layer in enumerate(settings.layers) if layer.shares_kv]
    stored = sorted({int(name.split(".")[1]) for name in unused if ".k_proj.weight" in name})
    if stored != sharing:
        yield Problem(
            "W275",
            f"num_kv_shared_layers is {len(sharing)}, but of the last {len(sharing)} layers only "
            f"{some(stored)} store keys",
            causes=(
                f"config.json: layers {sharing[0]} to {sharing[-1]} borrow theirs",
                f"the first of the tensors is {min(unused)}",
            ),
            hint="either all of these layers store keys that nothing reads, or none does",
        )


def stray_tensors_problem(tensors: list[Tensor], prefix: str) -> list[Problem]:
    """Report tensors of neither the decoder nor a tower."""
    if not tensors:
        return []
    first = tensors[0]
    names = [tensor.name for tensor in tensors]
    return [
        Problem(
            "W278",
            f"{count_are(names)} neither the decoder's nor a tower's: {some(names)}",
            causes=(
                f"{describe_tensor(first)} is there",
                f"Gemma-4 has its decoder, here under {prefix}*, and towers: {', '.join(TOWERS)}",
            ),
            hint="take them out of the checkpoint",
        )
    ]


def unread_tensors(towers: list[str], unused: set[str], place: Place) -> Iterator[Problem]:
    """Count what is stored and not read."""
    if towers:
        names = sorted({name.removeprefix("model.").partition(".")[0] for name in towers})
        yield Problem(
            "L325",
            f"{count_are(towers)} not the text decoder's and not read by it, of {', '.join(names)}",
            place,
            severity="warning",
        )
    if unused:
        yield Problem(
            "L326",
            f"{count_are(unused)} keys and values of layers that borrow theirs, and never read",
            place,
            (some(sorted(unused), 4),),
            severity="warning",
        )


def quantized_towers(towers: list[str], place: Place) -> Iterator[Problem]:
    """Warn of encoders, or of what maps their rows into the decoder's space, in few bits."""
    packed = sorted(name.removesuffix(".scales") for name in towers if name.endswith(".scales"))
    if packed:
        yield Problem(
            "L339",
            f"the checkpoint is quantized in {some(packed, 4)}, which are encoders' and no "
            "decoder's",
            place,
            (f"{len(packed)} modules of {len(towers)} tensors",),
            hint="an encoder loses more by few bits than a decoder: take a checkpoint that leaves "
            "it as it is",
            severity="warning",
        )


def low_bit_warnings(
    schemes: Mapping[str, Scheme], place: Place | None, what: str
) -> Iterator[Problem]:
    """Warn of few bits where an error goes into every layer, or decides an expert."""
    outside, inside, routers = [], [], []
    for path in sorted(name for name, scheme in schemes.items() if scheme.bits < ENOUGH):
        if path.startswith(("embed_tokens", "per_layer_")):
            outside.append(path)
        if ".per_layer_" in path:
            inside.append(path)
        if path.endswith("router.proj"):
            routers.append(path)
    for names, why in (
        (outside + inside, "which every layer reads: an error there is added once per layer"),
        (routers, "which choose the experts"),
    ):
        if names:
            widths = ", ".join(sorted({f"{schemes[name].bits} bits" for name in names}))
            yield Problem(
                "L324",
                f"{what} {some(names, 4)}, {why}",
                place,
                (f"{len(names)} modules at {widths}",),
                hint="take a checkpoint, or a recipe, that quantizes the attention and MLP "
                "projections alone",
                severity="warning",
            )
