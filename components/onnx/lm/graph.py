"""Write the graph of a Qwen- or Llama-like decoder: embeddings in, logits of chosen rows out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..proto import CONTRIB
from .layout import HEAD, NORM, TABLE, Module
from .settings import ATTENTION, MLP, Settings
from .stored import Reader, pieces
from .weights import Weights


class Builder:
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
        self.weights = weights
        self.model = weights.model
        self.modules = modules
        self.settings = settings
        self.native = native
        self.reader = Reader()
        self.sums: dict[tuple[str, int], str] = {}

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

    def linear(self, x: str, paths: Sequence[str]) -> list[str]:
        """Multiply x by modules; those of one form are one product, cut apart afterwards."""
        modules = [self.modules[path] for path in paths]
        forms = {(module.scheme, "bias" in module.parts) for module in modules}
        if len(modules) > 1 and len(forms) > 1:
            return [name for path in paths for name in self.linear(x, [path])]
        name = "+".join([paths[0], *(path.rpartition(".")[2] for path in paths[1:])])
        bias = self.bias(name, modules) if "bias" in modules[0].parts else None
        if modules[0].packs(self.native):
            made = self.packed(x, name, modules)
            made = self.node("Add", [made, bias], f"{name}.biased") if bias else made
        else:
            made = self.dense(x, name, modules, bias)
        if len(modules) == 1:
            return [made]
        sizes = self.weights.constant(f"{name}.sizes", [module.shape[0] for module in modules])
        self.model.node("Split", [made, sizes], outputs := [f"{path}.y" for path in paths], axis=-1)
        return outputs

    def bias(self, name: str, modules: Sequence[Module]) -> str:
        tensors = [module.parts["bias"] for module in modules]
        size = sum(tensor.shape[0] for tensor in tensors)
        found = (self.reader.rows(tensor, 0, tensor.shape[0]) for tensor in tensors)
        return self.weights.add(f"{name}.bias", "float32", [size], found)

    def dense(self, x: str, name: str, modules: Sequence[Module], bias: str | None) -> str:
        """Multiply by rows that are float32, or are made so; a large matrix in several products.

        ONNX Runtime has a matrix twice while it packs it, so that none may be too large.
        """
        width = modules[0].shape[1]
        cuts = [(module, *piece) for module in modules for piece in pieces(module)]
        several = len(modules) == 1 and bias is None
        groups = [cuts[at : at + 4] for at in range(0, len(cuts), 4)] if several else [cuts]
        made = []
        for place, group in enumerate(groups):
            rows = sum(end - start for _, start, end in group)
            weight = self.weights.add(
                f"{name}.weight{place}",
                "float32",
                [rows, width],
                (self.reader.dense(*cut) for cut in group),
            )
            inputs = [x, weight, *([bias] if bias else [])]
            made.append(self.node("Gemm", inputs, f"{name}.product{place}", transB=1))
        return made[0] if len(made) == 1 else self.node("Concat", made, f"{name}.whole", axis=-1)

    def packed(self, x: str, name: str, modules: Sequence[Module]) -> str:
        """Multiply by packed rows: s (q - z), then r by the sums of the groups of x."""
        scheme, width = modules[0].scheme, modules[0].shape[1]
        assert scheme is not None
        rows, groups = sum(module.shape[0] for module in modules), width // scheme.group_size
        sizes = {
            "codes": ("uint8", (rows, groups, scheme.group_size * scheme.bits // 8)),
            "scales": ("float32", (rows * groups,)),
            "rest": ("float32", (rows, groups)),
        }

        def read(part: str) -> Iterator[np.ndarray]:
            for module in modules:
                for piece in pieces(module):
                    yield self.reader.packed(module, part, *piece)

        codes, scales, rest = (
            self.weights.add(f"{name}.{part}", *sizes[part], read(part)) for part in sizes
        )
        product = self.node(
            "MatMulNBits",
            [x, codes, scales],
            f"{name}.main",
            CONTRIB,
            K=width,
            N=rows,
            bits=scheme.bits,
            block_size=scheme.group_size,
            accuracy_level=4 if self.native else 1,
        )
        sums = self.summed(x, scheme.group_size)
        return self.node("Gemm", [sums, rest, product], f"{name}.product", transB=1)

    def summed(self, x: str, size: int) -> str:
        """Sum each group of a row, once for all that multiply it."""
        if (x, size) not in self.sums:
            apart = self.weights.constant(f"groups_{size}", [0, -1, size])
            axis = self.weights.constant("axis_2", [2])
            groups = self.node("Reshape", [x, apart], f"{x}.groups_{size}")
            self.sums[x, size] = self.node(
                "ReduceSum", [groups, axis], f"{x}.sums_{size}", keepdims=0
            )
        return self.sums[x, size]

    def node(
        self, op: str, inputs: Sequence[str], output: str, domain: str = "", **values: int | float
    ) -> str:
        """Add a node with one output, and return its name."""
        self.model.node(op, inputs, [output], domain, **values)
        return output
