"""Write the graph of a Qwen- or Llama-like decoder: embeddings in, logits of chosen rows out."""

from __future__ import annotations

from collections.abc import Mapping

from ...checkpoints.llama.layout import HEAD, NORM, TABLE, Module
from ...checkpoints.llama.settings import ATTENTION, MLP, Settings
from ..proto import CONTRIB
from .products import Products
from .weights import Weights


class Builder(Products):
    """Put a decoder's nodes and weights into a model, layer after layer.

    Activations are float32 [S, N], S rows of one sequence. `native` multiplies int8 activations.
    """

    def __init__(
        self,
        weights: Weights,
        modules: Mapping[str, Module],
        settings: Settings,
        native: bool,
    ) -> None:
        super().__init__(weights, modules, native)
        self.settings = settings

    def build(self) -> None:
        """Write all of it; inputs and outputs are in the order of their names below."""
        settings, rows = self.settings, self.modules[TABLE].shape[0]
        self.model.takes("embeds", "float32", ["S", settings.width])
        self.model.takes("chosen", "int64", ["R"])
        self.model.takes("last", "int32", [1])
        self.model.takes("total", "int32", [])
        for name in ("cos", "sin"):
            self.model.takes(name, "float32", ["P", settings.head // 2])
        self.model.gives("logits", "float32", ["R", rows])
        stream = "embeds"
        for number in range(settings.layers):
            stream = self.layer(number, stream)
        self.node("Gather", [stream, "chosen"], "chosen_rows", axis=0)
        normed = self.norm("chosen_rows", NORM)
        head = [HEAD if HEAD in self.modules else TABLE]
        (logits,) = self.linear(normed, head)
        self.node("Identity", [logits], "logits")
        for file in self.reader.files.values():
            file.hold()

    def layer(self, number: int, stream: str) -> str:
        """Write one layer and return the residual stream after it."""
        path = f"model.layers.{number}"
        heard = self.attention(number, self.norm(stream, f"{path}.input_layernorm"))
        between = self.node("Add", [stream, heard], f"{path}.between")
        normed = self.norm(between, f"{path}.post_attention_layernorm")
        gate, up = self.linear(normed, [f"{path}.mlp.{name}" for name in MLP[:2]])
        silu = self.node("QuickGelu", [gate], f"{path}.silu", CONTRIB, alpha=1.0)
        inner = self.node("Mul", [silu, up], f"{path}.inner")
        (down,) = self.linear(inner, [f"{path}.mlp.{MLP[2]}"])
        return self.node("Add", [between, down], f"{path}.after")

    def attention(self, number: int, x: str) -> str:
        """Write the attention of a layer; its keys and values go into the cache in place."""
        settings, path = self.settings, f"model.layers.{number}.self_attn"
        queries, keys, values = self.linear(x, [f"{path}.{name}" for name in ATTENTION[:3]])
        if settings.normed:
            queries = self.norm_heads(queries, f"{path}.q_norm", settings.heads)
            keys = self.norm_heads(keys, f"{path}.k_norm", settings.kv_heads)
        axis = self.weights.constant("axis_0", [0])
        batch = [self.node("Unsqueeze", [each, axis], f"{each}_1") for each in
                 (queries, keys, values)]  # fmt: skip
        held: list[int | str] = ["B", settings.kv_heads, "C", settings.head]
        for kind in "kv":
            self.model.takes(f"past_{kind}{number}", "float32", held)
            self.model.gives(f"present_{kind}{number}", "float32", held)
        heard = f"{path}.heard"
        self.model.node(
            "GroupQueryAttention",
            [*batch, f"past_k{number}", f"past_v{number}", "last", "total", "cos", "sin"],
            [heard, f"present_k{number}", f"present_v{number}"],
            CONTRIB,
            num_heads=settings.heads,
            kv_num_heads=settings.kv_heads,
            do_rotary=1,
            scale=float(settings.head**-0.5),
        )
        (given,) = self.linear(
            self.node("Squeeze", [heard, axis], f"{heard}_rows"), [f"{path}.{ATTENTION[3]}"]
        )
        return given

    def norm(self, x: str, path: str) -> str:
        """Divide rows by their root mean square and multiply by the norm's weights."""
        module = self.modules[path]
        weight = self.weights.add(
            path, "float32", module.shape, [self.reader.dense(module, 0, module.shape[0])]
        )
        return self.node(
            "SimplifiedLayerNormalization",
            [x, weight],
            f"{path}.normed",
            axis=-1,
            epsilon=self.settings.epsilon,
            stash_type=1,
        )

    def norm_heads(self, x: str, path: str, heads: int) -> str:
        """Normalize each head of [S, heads x head] by itself."""
        head = self.settings.head
        apart = self.weights.constant(f"heads_{heads}", [0, heads, head])
        whole = self.weights.constant(f"width_{heads}", [0, heads * head])
        rows = self.node("Reshape", [x, apart], f"{path}.apart")
        return self.node("Reshape", [self.norm(rows, path), whole], f"{path}.whole")
