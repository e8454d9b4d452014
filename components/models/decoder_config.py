"""Read a decoder's config.json key by key; what is not read and might count is refused by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite
from typing import Any

from composer.core.errors import Problem
from composer.formats.file_problems import show, show_bare

from ..checkpoints import rope
from ..checkpoints.config_keys import rotary
from ..checkpoints.config_keys.key_positions import Placed
from ..checkpoints.config_keys.meaning import unread_keys
from ..checkpoints.config_keys.rope_faults import ORIGINAL
from ..checkpoints.config_keys.rotary import KEEP, RopeRules, max_positions
from ..checkpoints.config_keys.window import KEYS, AttentionWindow, read_sliding_window
from .rotary import Llama3RopeScaling, Rotary, YarnScaling

CHECKED = frozenset(  # by the checkpoint, against its tensors
    "hidden_size max_position_embeddings model_type tie_word_embeddings vocab_size".split()
)


class DecoderConfigReader:
    """The keys of a config.json, with the sizes that the tensors show.

    Every key that is asked for counts as read. Whatever is wrong is added to `problems`, and a
    value that keeps the reading going is returned. It is kept with the path of its key and not in a
    `Problems`, since its line of the file is looked up where the file is known, by the caller.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        hidden_size: int,
        vocab_size: int,
        tied: bool,
        ignore: Collection[str] = (),
    ) -> None:
        self.problems: list[Placed] = [((), problem) for problem in rope.mrope_problems(values)]
        self.values = rope.without_mrope(values)
        for key in ignore:
            self.values.pop(key, None)
        self.hidden_size = hidden_size
        self.vocab_size = vocab_size
        self.tied = tied
        self.kind = str(values.get("model_type"))
        self.read = set(CHECKED)
        types = self.values.get("layer_types")
        if not isinstance(types, list):
            types = []
        self.rules, found = rotary.read_rope_rules(self.values, types)
        self.problems += found

    @property
    def positions(self) -> int | None:
        """Return how many positions a sequence has at most."""
        return max_positions(self.values, self.rules)

    def value(self, key: str) -> Any:
        """Return what a key holds, or None."""
        self.read.add(key)
        return self.values.get(key)

    def count(self, key: str, default: int | None = None) -> int:
        """Return a whole number from 1."""
        value = self.value(key)
        if value is None and default is not None:
            return default
        if value is None:
            self._missing(key)
            return 2
        if type(value) is int and 0 < value <= 2**24:
            return value
        self.wrong(key, f"{key} is {show_bare(value)}; expected a whole number from 1")
        return 2

    def real(self, key: str, default: float | None = None) -> float:
        """Return a number above 0."""
        value = self.value(key)
        if value is None and default is not None:
            return default
        if value is None:
            self._missing(key)
            return 1.0
        return self._positive(value, key)

    def flag(self, key: str, default: bool = False) -> bool:
        """Return true or false."""
        value = self.value(key)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        self.wrong(key, f"{key} is {show_bare(value)}; expected true or false")
        return default

    def heads(self, queries: int | None = None, keys: int | None = None) -> tuple[int, int]:
        """Return how many heads of queries there are, and of keys: as many, where it is silent."""
        num_heads = self.count("num_attention_heads", queries)
        num_kv_heads = self.count("num_key_value_heads", keys or num_heads)
        if num_heads % num_kv_heads:
            message = f"{num_heads} heads cannot share {num_kv_heads} heads of keys"
            self.wrong("num_key_value_heads", message)
        return num_heads, num_kv_heads

    def require(self, key: str, *values: Any) -> None:
        """Refuse a key that holds anything but the values which are computed; the first is named.

        A key that is absent has one of them.
        """
        value = self.value(key)
        if value is not None and value not in values:
            self.refuse(f"computes {values[0]}, and {key} is {show_bare(value)}", key)

    def window(self, num_layers: int) -> tuple[int | None, ...]:
        """Return how many rows a row of each layer sees, None for all of them."""
        self.read |= KEYS
        found = read_sliding_window(self.values, self.kind, num_layers)
        if isinstance(found, AttentionWindow):
            return tuple(found.size if sliding else None for sliding in found.sliding)
        if found is not None:
            self.problems.append(((self._window_key(),), Problem("W257", found)))
        return (None,) * num_layers

    def rotary(
        self, head_dim: int, theta: float = 10_000.0, layers: str = "", partial: bool = False
    ) -> Rotary:
        """Return how positions turn, in layers of one type where there are several.

        `theta` is the base where the config is silent; `partial` says that a part of a head may
        turn in this architecture.
        """
        self.read |= rotary.SPELLINGS | {"partial_rotary_factor", ORIGINAL}
        if head_dim % 2:
            self.wrong("head_dim", f"head_dim is {head_dim}; positions turn pairs of numbers")
        if not layers and self.rules and "" not in self.rules:
            self.refuse("turns the positions of all layers alike", next(iter(self.rules.values())))
        rules = self.rules.get(layers) or self.rules.get("")
        if rules is None:
            return Rotary(head_dim, theta)
        if rules.theta is not None:
            theta = self._positive(rules.theta, "rope_theta")
        if rules.partial != 1 and not partial:
            what = f"turns whole heads, and partial_rotary_factor is {rules.partial:g}"
            self.refuse(what, rules, "partial_rotary_factor")
        dims = int(head_dim * rules.partial)
        if dims % 2 or not 0 < dims <= head_dim:
            what = f"partial_rotary_factor {rules.partial:g} leaves {dims} numbers of {head_dim}"
            self.wrong("partial_rotary_factor", f"{what}; positions turn pairs")
        return Rotary(dims, theta, self._scaling(rules))

    def check_unread(self) -> None:
        """Refuse every key that was not asked for and is not known to change nothing."""
        for key in unread_keys(self.values, frozenset(self.read)):
            what = f"does not read {key}, which is {show_bare(self.values[key])}"
            self.refuse(what, key, hint=KEEP)

    def refuse(self, what: str, key: str | RopeRules, *inner: str, hint: str | None = None) -> None:
        """Report what this network does not compute: a key, or one `inner` to rules."""
        path = (key,) if isinstance(key, str) else (*key.path, *inner)
        self.problems.append((path, Problem("W257", f"composer's {self.kind} {what}", hint=hint)))

    def wrong(self, key: str, message: str) -> None:
        """Report a value that no network could take."""
        self.problems.append(((key,), Problem("W241", message)))

    def _missing(self, key: str) -> None:
        what = f"{key} is missing, and composer's {self.kind} needs it"
        self.problems.append(((), Problem("W258", what)))

    def _positive(self, value: Any, key: str) -> float:
        if type(value) in (int, float) and 0 < value <= 1e18 and isfinite(value):
            return float(value)
        self.wrong(key, f"{key} is {show_bare(value)}; expected a number above 0")
        return 1.0

    def _window_key(self) -> str:
        return "layer_types" if self.values.get("layer_types") else "sliding_window"

    def _scaling(self, rules: RopeRules) -> float | Llama3RopeScaling | YarnScaling:
        numbers = {key: value for key, value in rules.numbers.items() if value is not None}
        trained = numbers.setdefault(ORIGINAL, self.values.get("max_position_embeddings"))
        if rules.kind in ("default", "dynamic"):  # alike up to the limit, which stays as trained
            return 1.0
        if rules.kind not in ("linear", "llama3", "yarn"):
            self.refuse(f"does not compute the rope scaling {show(rules.kind)}", rules)
            return 1.0

        def number(key: str, default: float | None = None) -> float:
            value = numbers.get(key, default)
            if value is None:
                self.wrong(rules.path[0], f"{key} is missing; expected a number above 0")
                return 1.0
            return self._positive(value, key)

        factor = number("factor")
        if rules.kind == "linear":
            return factor
        if rules.kind == "yarn":
            fast, slow = number("beta_fast", 32.0), number("beta_slow", 1.0)
            rounded = numbers.get("truncate", True) is not False
            if not rounded and len(rules.path) > 1:  # transformers does not look for it there
                self.refuse("does not read truncate of one type of layer", rules)
            original = number(ORIGINAL, trained)
            return YarnScaling(factor, original, fast, slow, rounded, rules.attention_factor)
        low, high = number("low_freq_factor", 1.0), number("high_freq_factor", 4.0)
        if high <= low:
            what = f"high_freq_factor is {high:g}, not above low_freq_factor {low:g}"
            self.wrong(rules.path[0], what)
        return Llama3RopeScaling(factor, low, high, number(ORIGINAL, 8192.0))
