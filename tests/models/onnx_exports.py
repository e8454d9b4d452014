"""Export tiny decoders of transformers as they are published: ONNX graphs with their caches."""

import warnings
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import DynamicCache

from composer.components.onnx.weights import WeightsFile

FULL, SLIDING = "full_attention", "sliding_attention"
GROUP = 32  # numbers with one scale
KINDS = ("key", "value")


class Exported(torch.nn.Module):
    """A model with the inputs of a published graph, in their order."""

    def __init__(self, model, embeds=False, keep=False, mixed=False, cached=True):
        super().__init__()
        self.cached = cached
        self.model, self.embeds, self.keep = model, embeds, keep
        self.config = model.config
        self.config._attn_implementation = "eager"
        width = getattr(self.config, "hidden_size_per_layer_input", 0) or 0
        self.per_layer = (3 if mixed else 4) if embeds and width else 0
        shared = getattr(self.config, "num_kv_shared_layers", 0) or 0
        self.layers = range(self.config.num_hidden_layers - shared)

    @property
    def names(self):
        first = ["inputs_embeds"] if self.embeds else ["input_ids"]
        first += ["per_layer_inputs"] * bool(self.per_layer)
        first += ["attention_mask", "position_ids"] + ["num_logits_to_keep"] * self.keep
        if not self.cached:
            return first
        return first + [f"past_key_values.{i}.{kind}" for i in self.layers for kind in KINDS]

    @property
    def outputs(self):
        return ["logits", *(f"present.{i}.{kind}" for i in self.layers for kind in KINDS)]

    def forward(self, *given):
        named = dict(zip(self.names, given, strict=True))
        cache = DynamicCache()
        for i in self.layers if self.cached else ():
            pair = [named.pop(f"past_key_values.{i}.{kind}") for kind in KINDS]
            cache.update(*pair, i)
        keep = named.pop("num_logits_to_keep", None)
        mask = named.pop("attention_mask")
        total, count = mask.shape[1], named["position_ids"].shape[1]
        behind = torch.arange(total - count, total)[:, None] - torch.arange(total)[None]
        seen = (behind >= 0)[None] & mask[:, None].bool()
        lowest = torch.finfo(self.model.dtype).min
        masks = {}
        for kind in (FULL, SLIDING):
            if kind == SLIDING and getattr(self.config, "sliding_window", None):
                seen = seen & (behind < self.config.sliding_window)[None]
            masks[kind] = torch.where(seen, 0.0, lowest).to(self.model.dtype)[:, None]
        typed = getattr(self.config, "layer_types", None)
        own = vars(self.model.model)
        if self.per_layer == 3:
            own["project_per_layer_inputs"] = self._as_given
        logits = self.model(
            **named,
            attention_mask=masks if typed else masks[FULL],
            past_key_values=cache,
            use_cache=True,
        ).logits
        own.pop("project_per_layer_inputs", None)
        if keep is not None:
            logits = logits[:, count - keep :]
        kept = [
            each for i in self.layers for each in (cache.layers[i].keys, cache.layers[i].values)
        ]
        return logits, *kept

    def _as_given(self, embeds, rows):
        shape = (self.config.num_hidden_layers, self.config.hidden_size_per_layer_input)
        return rows.reshape(*rows.shape[:2], *shape)


class Embedded(torch.nn.Module):
    """What makes a decoder's inputs of ids; `mixed` ones with what is projected of embeddings."""

    def __init__(self, model, per_layer=0):
        super().__init__()
        self.model, self.per_layer = model.model, per_layer

    def forward(self, ids):
        embeds = self.model.embed_tokens(ids)
        if not self.per_layer:
            return (embeds,)
        rows = self.model.get_per_layer_inputs(ids, None)
        if self.per_layer == 3:
            rows = self.model.project_per_layer_inputs(embeds, rows).flatten(2)
        return embeds, rows


class Placed(Embedded):
    """What embeds ids as Mobius does: speech in its place, and per-layer inputs mixed."""

    def __init__(self, model, mark):
        super().__init__(model, 3)
        self.mark = mark

    def forward(self, ids, rows):
        marked = ids == self.mark
        embeds = self.model.embed_tokens(ids)
        embeds = embeds.masked_scatter(marked[..., None].expand_as(embeds), rows)
        layers = self.model.get_per_layer_inputs(torch.where(marked, 0, ids), None)
        return embeds, self.model.project_per_layer_inputs(embeds, layers).flatten(2)


class Seen(torch.nn.Module):
    """Gemma-4's vision tower as it is published: patches in a list, and the place of each."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixels, positions):
        return self.model.get_image_features(pixels, positions).pooler_output[0]


def export_vision(model, path, given):
    """Write the graph of a vision tower, traced with a picture's patches and their places."""
    names = ["pixel_values", "pixel_position_ids"]
    axes = {name: {0: "batch_size", 1: "num_patches"} for name in names}
    axes["image_features"] = {0: "num_image_tokens"}
    return _export(Seen(model), given, path, names, ["image_features"], axes)


def write_speech(component, folder, path):
    """Write composer's own audio tower as the published graph: in a batch, its frames marked."""
    weights = WeightsFile(folder)
    component.run._build(weights)
    model = onnx.load(str(weights.close()[0]))
    (mel,), graph = [each.name for each in model.graph.input], model.graph
    frames = {"input_features": ["batch_size", "num_frames", 128],
              "input_features_mask": ["batch_size", "num_frames"]}  # fmt: skip
    kinds = (TensorProto.FLOAT, TensorProto.BOOL)
    inputs = [
        helper.make_tensor_value_info(name, kind, dims)
        for (name, dims), kind in zip(frames.items(), kinds, strict=True)
    ]
    first = numpy_helper.from_array(np.array([0]), "first")
    nodes = [helper.make_node("Squeeze", [name, "first"], [f"{name}_0"]) for name in frames]
    nodes.append(helper.make_node("Compress", [f"{name}_0" for name in frames], [mel], axis=0))
    nodes += [*graph.node, helper.make_node("Identity", [graph.output[0].name], ["audio_features"])]
    width = graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    output = helper.make_tensor_value_info(
        "audio_features", TensorProto.FLOAT, ["num_audio_tokens", width]
    )
    made = helper.make_graph(nodes, "speech", inputs, [output], [*graph.initializer, first])
    opsets = list(model.opset_import)
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=model.ir_version), str(path))
    return path


def export_decoder(model, path, past=3, **how):
    """Write the decoder's graph, traced with a cache of some rows."""
    made = Exported(model, **how)
    past = past if made.cached else 0
    config, dtype, length = model.config, model.dtype, 5
    given = {
        "input_ids": torch.arange(3, 3 + length)[None],
        "inputs_embeds": torch.randn(1, length, config.hidden_size).to(dtype),
        "attention_mask": torch.ones(1, past + length, dtype=torch.long),
        "position_ids": torch.arange(past, past + length)[None],
        "num_logits_to_keep": torch.tensor(2),
    }
    if made.per_layer:
        sizes = (config.num_hidden_layers, config.hidden_size_per_layer_input)
        rows = torch.randn(1, length, *sizes).to(dtype)
        given["per_layer_inputs"] = rows.flatten(2) if made.per_layer == 3 else rows
    for i in made.layers:
        attn = model.model.layers[i].self_attn
        heads = attn.k_proj.out_features // attn.head_dim
        for kind in KINDS:
            rows = torch.randn(1, heads, past, attn.head_dim).to(dtype)
            given[f"past_key_values.{i}.{kind}"] = rows
    axes = {"attention_mask": {0: "batch_size", 1: "total_sequence_length"}}
    lengths = {"past": "past_sequence_length", "present": "total_sequence_length"}
    for name in (*made.names, *made.outputs):
        rows = lengths.get(name.partition("_key")[0].partition(".")[0])
        if rows:
            axes[name] = {0: "batch_size", 2: rows}
        elif name not in ("num_logits_to_keep", "attention_mask"):
            axes[name] = {0: "batch_size", 1: "sequence_length"}
    if made.keep:
        axes["logits"][1] = "num_logits"
    return _export(made, [given[name] for name in made.names], path, made.names, made.outputs, axes)


def export_embedding(model, path, per_layer=0):
    """Write the graph that embeds ids."""
    outputs = ["inputs_embeds", "per_layer_inputs"][: 2 if per_layer else 1]
    axes = {name: {0: "batch_size", 1: "sequence_length"} for name in ("input_ids", *outputs)}
    ids = torch.arange(3, 8)[None]
    return _export(Embedded(model, per_layer), [ids], path, ["input_ids"], outputs, axes)


def export_placing(model, path, mark):
    """Write the graph that embeds ids and puts rows of speech where `mark` stands."""
    names, outputs = ["input_ids", "audio_features"], ["inputs_embeds", "per_layer_inputs"]
    axes = {name: {0: "batch_size", 1: "sequence_length"} for name in ("input_ids", *outputs)}
    axes["audio_features"] = {0: "num_audio_tokens"}
    given = [torch.tensor([[3, mark, mark, 4]]), torch.randn(2, model.config.hidden_size)]
    return _export(Placed(model, mark), given, path, names, outputs, axes)


def _export(module, given, path, names, outputs, axes):
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), tuple(given), str(path), input_names=list(names),
            output_names=list(outputs), dynamic_axes=axes, opset_version=18, dynamo=False,
        )  # fmt: skip
    return path


@dataclass(frozen=True)
class Codes:
    """A layer's weights of 4 bits [N, K], and their scales and zero points [N, K / GROUP]."""

    codes: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray | None = None

    @property
    def widened(self):
        groups = self.codes.astype(np.float32).reshape(*self.scales.shape, GROUP)
        groups -= 8 if self.zeros is None else self.zeros[..., None]
        return (groups * self.scales[..., None]).reshape(self.codes.shape)


def calibrated_q4(model):
    """Round each linear layer to codes that GPTQ might choose: zero points, not always the nearest.

    A column's error is added to the next one of its group, as GPTQ does by its Hessian.
    """
    found = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            weight = module.weight.detach().numpy()
            groups = weight.reshape(len(weight), -1, GROUP).copy()
            low, high = groups.min(-1), groups.max(-1)
            scales = ((high - low) / 15).astype(np.float32)
            zeros = np.clip(np.round(-low / scales), 0, 15)
            codes = np.zeros(groups.shape, np.uint8)
            for at in range(GROUP):
                codes[..., at] = np.clip(np.round(groups[..., at] / scales + zeros), 0, 15)
                error = groups[..., at] - (codes[..., at] - zeros) * scales
                groups[..., at + 1 : at + 2] += error[..., None]
            layer = Codes(codes.reshape(weight.shape), scales, zeros.astype(np.uint8))
            found.append(layer)
            module.weight.data = torch.tensor(layer.widened)
    return found


def two_in_a_byte(values):
    """Pack numbers of 4 bits along the last axis, the low ones first; the last may be alone."""
    values = np.concatenate([values, np.zeros_like(values[..., : values.shape[-1] % 2])], -1)
    return values[..., ::2] | values[..., 1::2] << 4


def rounded_to_q4(model):
    """Round each linear layer of a model to 4 bits; return their codes."""
    found = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            weight = module.weight.detach().numpy()
            groups = weight.reshape(len(weight), -1, GROUP)
            scales = (np.abs(groups).max(-1) / 7).astype(np.float16).astype(np.float32)
            codes = np.clip(np.round(groups / scales[..., None]), -8, 7) + 8
            found.append(Codes(codes.reshape(weight.shape).astype(np.uint8), scales))
            module.weight.data = torch.tensor(found[-1].widened)
    return found


def pack_q4(path, layers, target, accuracy_level=0):
    """Write a graph whose products with widened codes are MatMulNBits, as q4 files have them."""
    model = onnx.load(str(path))
    stored = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    left = list(layers)
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in stored:
            continue
        weight = stored[node.input[1]].T
        alike = [each for each in left if np.array_equal(each.widened.astype(weight.dtype), weight)]
        if not alike:
            continue
        left.remove(alike[0])
        packed = two_in_a_byte(alike[0].codes).reshape(*alike[0].scales.shape, GROUP // 2)
        arrays = {"codes": packed, "scales": alike[0].scales.astype(weight.dtype)}
        if alike[0].zeros is not None:
            arrays["zeros"] = two_in_a_byte(alike[0].zeros)
        names = [f"{node.output[0]}_{each}" for each in arrays]
        for name, array in zip(names, arrays.values(), strict=True):
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        rows, columns = weight.shape
        made = helper.make_node(
            "MatMulNBits", [node.input[0], *names], list(node.output), domain="com.microsoft",
            K=columns, N=rows, bits=4, block_size=GROUP, accuracy_level=accuracy_level,
        )  # fmt: skip
        node.CopyFrom(made)
    assert not left
    used = {name for node in model.graph.node for name in node.input}
    for each in [each for each in model.graph.initializer if each.name not in used]:
        model.graph.initializer.remove(each)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, str(target))
    return target


def edited(path, target, change):
    """Write a graph that a function has changed."""
    model = onnx.load(str(path))
    change(model.graph)
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(target))
    return target
