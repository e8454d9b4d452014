"""Read how a model's weights are quantized, as mlx-lm reads it from config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from composer.core.location import Location
from composer.formats.file_problems import refuse, show
from composer.formats.strictjson import kind

SCHEMES = {
    "affine": ({1, 2, 3, 4, 5, 6, 8}, {32, 64, 128}, (4, 64)),
    "mxfp4": ({4}, {32}, (4, 32)),
    "mxfp8": ({8}, {32}, (8, 32)),
    "nvfp4": ({4}, {16}, (4, 16)),
    "dynamic": ({8}, {64}, (8, 64)),
}
DYNAMIC = "dynamic"  # of ONNX files alone: both factors of a product have 8 bits
KEYS = ("bits", "group_size", "mode")
PACKED = {
    "nvfp4-pack-quantized": (4, 16, "nvfp4"),
    "mxfp4-pack-quantized": (4, 32, "mxfp4"),
    "pack-quantized": (4, 32, "affine"),
}


@dataclass(frozen=True)
class Scheme:
    """How the weights of one module are packed."""

    bits: int
    group_size: int
    mode: str

    @property
    def title(self) -> str:
        """Describe it in a few words."""
        form = f"{self.bits} bits" if self.mode == "affine" else self.mode
        return f"{form}, groups of {self.group_size}"

    def nbytes(self, count: int, item: int) -> int:
        """Return the bytes of so many weights, scales and biases of `item` bytes included."""
        per_group = 2 * item if self.mode == "affine" else 1
        return count * self.bits // 8 + count // self.group_size * per_group

    def unpacked(self, words: int) -> int:
        """Return how many codes stand in so many words of 32 bits."""
        return words * 32 // self.bits


def scheme_of(mode: str, bits: Any = None, group_size: Any = None) -> Scheme:
    """Return a scheme; what is None is the mode's own. Raise ValueError for what it lacks."""
    allowed_bits, allowed_sizes, (default_bits, default_size) = SCHEMES[mode]
    if bits is None:
        bits = default_bits
    if group_size is None:
        group_size = default_size
    for key, value, allowed in (
        ("bits", bits, allowed_bits),
        ("group_size", group_size, allowed_sizes),
    ):
        if type(value) is not int or value not in allowed:
            options = ", ".join(map(str, sorted(allowed)))
            raise ValueError(f"{key} {show(str(value))} in mode {mode}; expected one of {options}")
    return Scheme(bits, group_size, mode)


@dataclass(frozen=True)
class Quantization(Scheme):
    """The model's default scheme, and the modules that override it."""

    modules: Mapping[str, Scheme | None] = field(default_factory=dict)

    def of(self, path: str) -> Scheme | None:
        """Return a module's scheme, or None where the config leaves it unquantized.

        A module that the config does not name is quantized if `<path>.scales` is stored.
        """
        return self.modules.get(path, Scheme(self.bits, self.group_size, self.mode))


def read_quantization(
    config: Mapping[str, Any], location: Location | None = None
) -> Quantization | None:
    """Read a config's quantization as mlx-lm does, or None for plain weights."""
    where = location or Location("config.json", "", None)
    own = config.get("quantization")
    if own is None:
        text = config.get("text_config")
        legacy = config.get("quantization_config")
        if legacy is None and isinstance(text, dict):
            legacy = text.get("quantization_config")
        return _from_other_tool(where, legacy) if legacy else None
    if not isinstance(own, dict):
        refuse(where, "S472", f"quantization is {kind(own)}; expected an object")
    default = _scheme(where, "quantization", own, {"bits", "group_size"})
    modules: dict[str, Scheme | None] = {}
    for path, value in own.items():
        if isinstance(value, dict):
            modules[path] = _scheme(where, path, value, set())
        elif isinstance(value, bool) and path not in KEYS:
            modules[path] = default if value else None
        elif path not in KEYS:
            refuse(where, "S472", f"quantization has the unknown key {show(path)}")
    return Quantization(default.bits, default.group_size, default.mode, modules)


def _scheme(location: Location, path: str, values: dict[str, Any], required: set[str]) -> Scheme:
    """Read one scheme; as in mlx-lm a null is the mode's usual value."""

    def fail(message: str) -> NoReturn:
        refuse(location, "S472", f"quantization of {show(path)}: {message}")

    mode = values.get("mode", "affine")
    modes = [each for each in SCHEMES if each != DYNAMIC]
    if not isinstance(mode, str) or mode not in modes:
        fail(f"mode {show(str(mode))}; expected one of {', '.join(modes)}")
    for key in sorted(required - values.keys()):
        fail(f"{key} is missing")
    if unknown := sorted(key for key in values.keys() - {*KEYS} if not required):
        fail(f"the unknown key {show(unknown[0])}; expected {', '.join(KEYS)}")
    try:
        return scheme_of(mode, values.get("bits"), values.get("group_size"))
    except ValueError as error:
        fail(str(error))


def _from_other_tool(location: Location, values: Any) -> Quantization | None:
    """Map the formats of other tools that mlx-lm converts at load."""
    if not isinstance(values, dict):
        refuse(location, "S472", f"quantization_config is {kind(values)}; expected an object")
    inner = values.get("quantization", values)
    settings = inner if isinstance(inner, dict) else values
    match values.get("quant_method"):
        case "mxfp4":
            found = Scheme(4, 32, "mxfp4")
        case "mxfp8":
            found = Scheme(8, 32, "mxfp8")
        case "fp8" if (values.get("scale_fmt"), values.get("weight_block_size")) == (
            "ue8m0",
            [32, 32],
        ):
            found = Scheme(8, 32, "mxfp8")
        case "fp8":
            return None
        case "compressed-tensors" if str(values.get("format")) in PACKED:
            found = Scheme(*PACKED[str(values.get("format"))])
        case "modelopt" if settings.get("quant_algo") == "NVFP4":
            found = Scheme(4, 16, "nvfp4")
        case "awq" | "gptq" if values.get("bits", 4) == 4:
            sizes = {"bits": 4, "group_size": values.get("group_size", 128)}
            found = _scheme(location, "quantization_config", sizes, set())
        case method:
            refuse(
                location,
                "S472",
                f"quantization_config has the unknown method {show(str(method))}",
                hint="convert the original weights with mlx_lm.convert",
            )
    return Quantization(found.bits, found.group_size, found.mode)
