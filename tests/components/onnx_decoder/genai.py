"""Write a Llama of transformers as onnxruntime-genai does: fused attention, logits of one row."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.components.onnx_decoder.loading import write_folder

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


class Writer:
    """A graph that is written node by node."""

    def __init__(self):
        self.nodes, self.stored = [], []

    def constant(self, array, dtype=np.float32):
        name = f"c{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def node(self, kind, *given, outputs=(), domain="", **attributes):
        names = [*outputs] or [f"v{len(self.nodes)}"]
        made = helper.make_node(kind, [*given], names, domain=domain, **attributes)
        self.nodes.append(made)
        return names[0]

    def linear(self, x, module):
        return self.node("MatMul", x, self.constant(module.weight.detach().numpy().T))

    def norm(self, x, module):
        weight = self.constant(module.weight.detach().numpy())
        return self.node(
            "SimplifiedLayerNormalization", x, weight,
            axis=-1, epsilon=module.variance_epsilon, stash_type=1,
        )  # fmt: skip


def rotary(config, rows):
    angles = config.rope_parameters["rope_theta"] ** (
        -np.arange(0, config.head_dim, 2, dtype=np.float32) / config.head_dim
    )
    turned = np.arange(rows, dtype=np.float32)[:, None] * angles
    return np.cos(turned), np.sin(turned)


def write_genai(model, folder, rows=512):
    """Write the folder: genai_config.json, model.onnx with model.onnx.data, and a tokenizer."""
    config, w = model.config, Writer()
    lengths = w.node("ReduceSum", "attention_mask", w.constant([1], np.int64), keepdims=1)
    lengths = w.node("Sub", lengths, w.constant(1, np.int64))
    seen = w.node("Cast", lengths, to=TensorProto.INT32)
    shape = w.node("Shape", "attention_mask")
    total = w.node("Gather", shape, w.constant(1, np.int64))
    total = w.node("Cast", total, to=TensorProto.INT32)
    cos, sin = map(w.constant, rotary(config, rows))
    x = w.node("Gather", w.constant(model.model.embed_tokens.weight.detach().numpy()), "input_ids")
    caches = []
    for number, layer in enumerate(model.model.layers):
        h, attn = w.norm(x, layer.input_layernorm), layer.self_attn
        q, k, v = (w.linear(h, each) for each in (attn.q_proj, attn.k_proj, attn.v_proj))
        past = [f"past_key_values.{number}.{kind}" for kind in ("key", "value")]
        present = [f"present.{number}.{kind}" for kind in ("key", "value")]
        caches.append((past, present))
        made = w.node(
            "GroupQueryAttention", q, k, v, *past, seen, total, cos, sin,
            outputs=[f"attention{number}", *present], domain="com.microsoft",
            num_heads=config.num_attention_heads, kv_num_heads=config.num_key_value_heads,
            do_rotary=1, rotary_interleaved=0, scale=config.head_dim**-0.5,
        )  # fmt: skip
        x = w.node("Add", x, w.linear(made, attn.o_proj))
        h, mlp = w.norm(x, layer.post_attention_layernorm), layer.mlp
        gate = w.linear(h, mlp.gate_proj)
        gate = w.node("Mul", gate, w.node("Sigmoid", gate))
        up = w.node("Mul", gate, w.linear(h, mlp.up_proj))
        x = w.node("Add", x, w.linear(up, mlp.down_proj))
    last = w.node("Gather", w.norm(x, model.model.norm), w.constant([-1], np.int64), axis=1)
    w.node("Identity", w.linear(last, model.lm_head), outputs=["logits"])

    def value(name, kind, dims):
        return helper.make_tensor_value_info(name, kind, dims)

    sizes = ["batch_size", config.num_key_value_heads, "past", config.head_dim]
    grown = ["batch_size", config.num_key_value_heads, "total", config.head_dim]
    inputs = [value("input_ids", INT64, ["batch_size", "sequence_length"])]
    inputs.append(value("attention_mask", INT64, ["batch_size", "total"]))
    outputs = [value("logits", FLOAT, ["batch_size", 1, config.vocab_size])]
    for past, present in caches:
        inputs += [value(name, FLOAT, sizes) for name in past]
        outputs += [value(name, FLOAT, grown) for name in present]
    graph = helper.make_graph(w.nodes, "genai", inputs, outputs, w.stored)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    write_folder(model, folder)
    onnx.save(
        made, str(folder / "model.onnx"), save_as_external_data=True, location="model.onnx.data",
        size_threshold=256,
    )  # fmt: skip
    (folder / "config.json").unlink()
    stated = {
        "type": config.model_type,
        "vocab_size": config.vocab_size,
        "context_length": config.max_position_embeddings,
        "eos_token_id": config.eos_token_id,
        "decoder": {"filename": "model.onnx", "num_hidden_layers": config.num_hidden_layers},
    }
    (folder / "genai_config.json").write_text(json.dumps({"model": stated}))
    return folder
