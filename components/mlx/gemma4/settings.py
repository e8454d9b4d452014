"""Say every setting of a Gemma-4 decoder, from its config.json or else from its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from composer.errors import Problem
from composer.headers.refusal import show

from ..checkpoint import LAYERS

if TYPE_CHECKING:
    from composer.headers.safetensors import Tensor

FULL, SLIDING = "full_attention", "sliding_attention"
MODELS = ("gemma4", "gemma4_text")
SHARED = ("eos_token_id", "quantization", "quantization_config", "tie_word_embeddings")
MOST = 2**31
FIXED: Mapping[str, tuple[Any, ...]] = {
    "hidden_activation": (None, "gelu_pytorch_tanh"),
    "hidden_act": (None, "gelu_pytorch_tanh"),
    "attention_bias": (None, False),
    "use_bidirectional_attention": (None, "vision"),  # of image tokens, which this never has
}
ROPE = {"rope_type", "rope_theta", "partial_rotary_factor", "factor"}


class Size(NamedTuple):
    """A length that the config or a tensor says, and in what words."""

    value: int
    said: str

    def __mul__(self, other: Size) -> Size:  # type: ignore[override]
        return Size(self.value * other.value, f"{self.said} x {other.said}")


@dataclass(frozen=True)
class Layer:
    """One layer's attention and MLP; one that `borrows` keeps no keys and values of its own."""

    kind: str
    head_dim: Size
    kv_heads: Size
    width: Size
    borrows: bool

    @property
    def full(self) -> bool:
        return self.kind == FULL


@dataclass(frozen=True)
class Settings:
    """A decoder's sizes; `per_layer` is 0 wide where there are no per-layer inputs.

    `args` are those of mlx-lm's ModelArgs, every one said, so that none of its defaults counts.
    """

    hidden: Size
    vocabulary: Size
    heads: Size
    layers: tuple[Layer, ...]
    per_layer: Size
    keys_are_values: bool
    experts: tuple[Size, Size] | None
    args: Mapping[str, Any]


def flatten(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Return the text model's config, flat, and where the outer one contradicts it."""
    inner = config.get("text_config")
    if not isinstance(inner, dict):
        return dict(config), []
    outer = {key: config[key] for key in SHARED if config.get(key) is not None}
    problems = [
        Problem(
            "W275",
            f"tie_word_embeddings is {outer[key]} outside text_config and {inner[key]} in it",
        )
        for key in ("tie_word_embeddings",)
        if key in outer and inner.get(key, outer[key]) != outer[key]
    ]
    return {**inner, **outer, "model_type": config.get("model_type")}, problems


def read_settings(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[Settings | None, list[Problem]]:
    """Read a flat config; `tensors` are named from the layers' list on, as embed_tokens.weight."""
    reader = _Reader(config, tensors)
    settings = reader.settings()
    return None if reader.problems else settings, reader.problems


@dataclass
class _Reader:
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    problems: list[Problem] = field(default_factory=list)

    def report(self, code: str, message: str, *causes: str, hint: str | None = None) -> None:
        self.problems.append(Problem(code, message, causes=causes, hint=hint))

    def refuse(self, key: str, wanted: str) -> None:
        self.report("W275", f"{key} is {show(str(self.config.get(key)))[1:-1]}; wanted {wanted}")

    def unsaid(self, key: str, why: str) -> None:
        self.report(
            "W276",
            f"config.json does not say {key}, {why}",
            hint=f"write {key} into config.json as the model was trained",
        )

    def size(self, key: str, name: str, axis: int = 0, per: int = 1, least: int = 1) -> Size:
        """Return what the config says, or else what a tensor shows along one axis."""
        said = self.config.get(key)
        tensor = self.tensors.get(name)
        if said is None and tensor is not None and len(tensor.shape) > axis:
            value = tensor.shape[axis] // per
            return Size(value, f"{key} {value} by {tensor.name} {list(tensor.shape)}")
        if said is None:
            self.unsaid(key, f"and there is no {name} to show it")
            return Size(1, key)
        if type(said) is not int or not least <= said <= MOST:
            self.refuse(key, f"{least} or more")
            return Size(1, key)
        return Size(said, f"{key} {said}")

    def settings(self) -> Settings:
        config = self.config
        for key, values in FIXED.items():
            if config.get(key) not in values:
                self.refuse(key, str(values[-1]))
        hidden = self.size("hidden_size", "norm.weight")
        vocabulary = self.size("vocab_size", "embed_tokens.weight")
        count = self.count()
        kinds = self.kinds(count)
        dims = {kind: self.head_dim(kind, kinds) for kind in (SLIDING, FULL)}
        first = dims[kinds[0]].value if kinds else 1
        heads = self.size("num_attention_heads", "layers.0.self_attn.q_proj.weight", per=first)
        borrowing = self.borrowing(count)
        self.sources(kinds, borrowing)
        equal = self.keys_are_values(kinds, borrowing)
        kv = self.kv_heads(kinds, dims, equal)
        width = self.size("intermediate_size", "layers.0.mlp.gate_proj.weight")
        doubled = self.doubled(count, borrowing, width)
        twice = Size(2 * width.value, f"2 (use_double_wide_mlp) x {width.said}")
        layers = tuple(
            Layer(
                kind,
                dims[kind],
                kv[kind],
                twice if doubled and 0 < count - borrowing <= number else width,
                number >= count - borrowing,
            )
            for number, kind in enumerate(kinds)
        )
        per_layer = self.per_layer()
        experts, most = self.experts()
        args = {
            "hidden_size": hidden.value,
            "num_hidden_layers": count,
            "intermediate_size": width.value,
            "num_attention_heads": heads.value,
            "head_dim": dims[SLIDING].value,
            "global_head_dim": dims[FULL].value,
            "rms_norm_eps": self.number("rms_norm_eps", 1e-6, 1.0),
            "vocab_size": vocabulary.value,
            "vocab_size_per_layer_input": vocabulary.value,
            "num_key_value_heads": kv[SLIDING].value,
            "num_global_key_value_heads": kv[FULL].value if equal else None,
            "num_kv_shared_layers": borrowing,
            "hidden_size_per_layer_input": per_layer.value,
            "rope_parameters": self.rope({*kinds}),
            "sliding_window": self.window(kinds),
            "max_position_embeddings": config.get("max_position_embeddings") or 131072,
            "attention_k_eq_v": equal,
            "final_logit_softcapping": self.softcap(),
            "use_double_wide_mlp": doubled,
            "enable_moe_block": experts is not None,
            "num_experts": experts and experts[0].value,
            "top_k_experts": most,
            "moe_intermediate_size": experts and experts[1].value,
            "layer_types": kinds,
            "tie_word_embeddings": "lm_head.weight" not in self.tensors,
        }
        return Settings(hidden, vocabulary, heads, layers, per_layer, equal, experts, args)

    def count(self) -> int:
        said = self.config.get("num_hidden_layers")
        if said is None:
            self.unsaid("num_hidden_layers", "which decides what every other layer shares")
            return 0
        if type(said) is not int or not 0 < said <= LAYERS:
            self.refuse("num_hidden_layers", f"1 to {LAYERS}")
            return 0
        return said

    def kinds(self, count: int) -> list[str]:
        """Return each layer's attention; transformers makes the last one full whatever is said."""
        said, pattern = self.config.get("layer_types"), self.config.get("sliding_window_pattern")
        if said is None and type(pattern) is int and pattern > 0:
            said = [FULL if (n + 1) % pattern == 0 else SLIDING for n in range(count)]
        if said is None:
            self.unsaid("layer_types", "and defaults differ: full attention every 5th or every 6th")
            return [SLIDING] * count
        if not isinstance(said, list) or any(kind not in (FULL, SLIDING) for kind in said):
            self.refuse("layer_types", f"a list of {SLIDING} and {FULL}")
            return [SLIDING] * count
        if len(said) != count:
            self.report("W275", f"layer_types names {len(said)} layers, num_hidden_layers {count}")
            return [SLIDING] * count
        if said and said[-1] != FULL:
            self.report("W275", f"the last layer has {SLIDING}; transformers would make it full")
        return list(said)

    def overrides(self, key: str, kinds: list[str]) -> Any:
        """Return what `per_layer_config`, as transformers writes it, says of the full layers."""
        table = self.config.get("per_layer_config")
        if table is None:
            return None
        full = {str(number) for number, kind in enumerate(kinds) if kind == FULL}
        if (
            not isinstance(table, dict)
            or {*table} != full
            or not all(isinstance(each, dict) for each in table.values())
            or any(each.keys() - {"head_dim", "num_key_value_heads"} for each in table.values())
            or len({str(each.get(key)) for each in table.values()}) > 1
        ):
            self.refuse("per_layer_config", "head_dim and num_key_value_heads, for all full layers")
            return None
        return next((each.get(key) for each in table.values()), None)

    def head_dim(self, kind: str, kinds: list[str]) -> Size:
        if kind not in kinds:
            kind = kinds[0] if kinds else SLIDING
        name = f"layers.{kinds.index(kind) if kinds else 0}.self_attn.q_norm.weight"
        if kind == SLIDING:
            return self.size("head_dim", name)
        return self.over("global_head_dim", "head_dim", kinds, name)

    def over(self, key: str, inner: str, kinds: list[str], name: str, per: int = 1) -> Size:
        """Return a size of the full layers, which two ways of writing a config may say."""
        listed, said = self.overrides(inner, kinds), self.config.get(key)
        if listed is None or said is not None:
            if listed is not None and listed != said:
                self.report("W275", f"{key} is {said}, but per_layer_config says {listed}")
            return self.size(key, name, per=per)
        if type(listed) is not int or not 0 < listed <= MOST:
            self.refuse("per_layer_config", f"{inner} of 1 or more")
            return Size(1, inner)
        return Size(listed, f"{inner} {listed} of per_layer_config")

    def kv_heads(self, kinds: list[str], dims: Mapping[str, Size], equal: bool) -> dict[str, Size]:
        """Return the key and value heads of both kinds of layers."""
        plain = kinds[0] if equal is False or not kinds else SLIDING
        at = kinds.index(plain) if plain in kinds else 0
        name = f"layers.{at}.self_attn.k_proj.weight"
        own = self.size("num_key_value_heads", name, per=dims[plain].value)
        if not equal or FULL not in kinds:
            return {SLIDING: own, FULL: own}
        name = f"layers.{kinds.index(FULL)}.self_attn.k_proj.weight"
        of_full = self.over(
            "num_global_key_value_heads", "num_key_value_heads", kinds, name, dims[FULL].value
        )
        return {SLIDING: own, FULL: of_full}

    def borrowing(self, count: int) -> int:
        """Return how many layers at the end use keys and values of layers before them."""
        said = self.config.get("num_kv_shared_layers")
        if said is not None:
            if type(said) is not int or not 0 <= said < max(count, 1):
                self.refuse("num_kv_shared_layers", f"0 to {count - 1}")
                return 0
            return said
        own = [f"layers.{n}.self_attn.k_proj.weight" in self.tensors for n in range(count)]
        borrowing = own[::-1].index(True) if True in own else 0
        if not borrowing:
            self.unsaid(
                "num_kv_shared_layers",
                "and keys of every layer are stored, used or not; defaults differ: 0 and 20",
            )
        return borrowing

    def sources(self, kinds: list[str], borrowing: int) -> None:
        for kind in {*kinds[len(kinds) - borrowing :]} - {*kinds[: len(kinds) - borrowing]}:
            self.report(
                "W275",
                f"the last {borrowing} layers borrow keys and values, but no layer before them "
                f"has {kind}",
            )

    def keys_are_values(self, kinds: list[str], borrowing: int) -> bool:
        said = self.config.get("attention_k_eq_v")
        if isinstance(said, bool):
            return said
        if said is not None:
            self.refuse("attention_k_eq_v", "true or false")
        own = [n for n, kind in enumerate(kinds[: len(kinds) - borrowing]) if kind == FULL]
        values = [f"layers.{n}.self_attn.v_proj.weight" in self.tensors for n in own]
        return bool(own) and not any(values)

    def doubled(self, count: int, borrowing: int, width: Size) -> bool:
        said = self.config.get("use_double_wide_mlp")
        if isinstance(said, bool):
            return said
        if said is not None:
            self.refuse("use_double_wide_mlp", "true or false")
        last = self.tensors.get(f"layers.{count - 1}.mlp.gate_proj.weight")
        return bool(borrowing) and last is not None and last.shape[0] == 2 * width.value

    def per_layer(self) -> Size:
        key = "hidden_size_per_layer_input"
        name = "per_layer_projection_norm.weight"
        if self.config.get(key) in (None, 0) and name not in self.tensors:
            return Size(0, f"{key} 0")
        width = self.size(key, name, least=0)
        rows = self.config.get("vocab_size_per_layer_input")
        table = self.tensors.get("embed_tokens_per_layer.weight")
        vocabulary = self.tensors.get("embed_tokens.weight")
        if rows is not None and table is not None and rows != table.shape[0]:
            self.report(
                "W275",
                f"vocab_size_per_layer_input is {rows} but the table has {table.shape[0]} rows",
                f"{table.shape[0]} comes from {table.name} {list(table.shape)}",
            )
        if table is not None and vocabulary is not None and table.shape[0] != vocabulary.shape[0]:
            self.report(
                "W275",
                f"the table has {table.shape[0]} rows but the embeddings have "
                f"{vocabulary.shape[0]}",
                f"{table.name} {list(table.shape)}",
                f"{vocabulary.name} {list(vocabulary.shape)}",
            )
        return width

    def experts(self) -> tuple[tuple[Size, Size] | None, int | None]:
        said = self.config.get("enable_moe_block")
        if said is not None and not isinstance(said, bool):
            self.refuse("enable_moe_block", "true or false")
        has = "layers.0.router.proj.weight" in self.tensors
        if not (has if said is None else said):
            return None, None
        count = self.size("num_experts", "layers.0.router.proj.weight")
        width = self.size(
            "moe_intermediate_size", "layers.0.experts.switch_glu.gate_proj.weight", axis=1
        )
        most = self.config.get("top_k_experts")
        if most is None:
            self.unsaid("top_k_experts", "and no tensor shows how many experts a token takes")
        elif type(most) is not int or not 0 < most <= count.value:
            self.refuse("top_k_experts", f"1 to {count.value}")
        return (count, width), most

    def rope(self, kinds: set[str]) -> dict[str, Any]:
        said = self.config.get("rope_parameters")
        if said is None:
            self.unsaid("rope_parameters", "which no tensor shows")
            return {}
        table: Any = said if isinstance(said, dict) else {}
        for kind in sorted(kinds):
            given = table.get(kind)
            if (
                not isinstance(given, dict)
                or given.keys() - ROPE
                or given.get("rope_type") not in ("default", "proportional")
                or not _positive(given.get("rope_theta"))
                or not _positive(given.get("factor", 1.0))
                or not _positive(given.get("partial_rotary_factor", 1.0))
                or given.get("partial_rotary_factor", 1.0) > 1
                or (given["rope_type"] == "default" and _scaled(given))
            ):
                self.report(
                    "W275",
                    f"rope_parameters of {kind} is {show(str(given))[1:-1]}",
                    hint="wanted rope_theta and the rope_type default, or proportional with "
                    "partial_rotary_factor",
                )
        return dict(table)

    def window(self, kinds: list[str]) -> int:
        said = self.config.get("sliding_window")
        if SLIDING in kinds and said is None:
            self.unsaid("sliding_window", "which no tensor shows")
        elif said is not None and (type(said) is not int or not 0 < said <= MOST):
            self.refuse("sliding_window", "1 or more")
        return said if type(said) is int else 1

    def softcap(self) -> float | None:
        key = "final_logit_softcapping"
        if key not in self.config:
            self.unsaid(key, "and defaults differ: none and 30")
        said = self.config.get(key)
        if said is not None and not _positive(said):
            self.refuse(key, "a number above 0, or null")
        return said

    def number(self, key: str, usual: float, below: float) -> float:
        said = self.config.get(key, usual)
        if not _positive(said) or said >= below:
            self.refuse(key, f"a number above 0 and below {below}")
            return usual
        return float(said)


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < inf


def _scaled(rope: Mapping[str, Any]) -> bool:
    """Tell whether plain rotary settings have what only proportional ones would read."""
    return rope.get("factor", 1.0) != 1.0 or rope.get("partial_rotary_factor", 1.0) != 1.0
