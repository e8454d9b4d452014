"""Llama, Mistral, Qwen2 and Qwen3, written once, on three backends against transformers."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from composer.components.models import decoder, llama
from composer.components.models.decoder import architectures
from composer.components.onnx.decoder_blocks import is_fused
from composer.components.onnx.proto import Model as OnnxModel
from tests.models.decoders import (
    BACKENDS,
    Model,
    assert_same_in_any_chunks,
    away,
    error_text,
    parsed,
    save,
    their_greedy,
    theirs,
)

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE = 1e-4
ROWS = 160
IDS = np.random.default_rng(5).integers(3, ROWS, 70)
SIZES = {
    "vocab_size": ROWS,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
    "pad_token_id": 0,
    "eos_token_id": 2,
}
SLIDING = ["full_attention", "sliding_attention", "sliding_attention"]
KINDS = {
    "llama": ("Llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}),
    "mistral": ("Mistral", {"sliding_window": 12}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"tie_word_embeddings": True}),
    "qwen3 with a window": ("Qwen3", {"use_sliding_window": True, "sliding_window": 12,
                                      "layer_types": SLIDING}),
    "qwen3 with a window as wide as a prompt": ("Qwen3", {"use_sliding_window": True,
                                                          "sliding_window": 70,
                                                          "layer_types": SLIDING}),
    "heads of 12": ("Llama", {"head_dim": 12}),
    "heads of 24": ("Qwen3", {"head_dim": 24, "num_key_value_heads": 1}),
    "yarn": ("Llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                                           "original_max_position_embeddings": 64}}),
}  # fmt: skip


def build(name, **more):
    kind, own = KINDS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**(SIZES | own | more))
    model = getattr(transformers, f"{kind}ForCausalLM")
    return model._from_config(config, attn_implementation="eager").eval()


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    model = build(request.param)
    folder = save(model, tmp_path_factory.mktemp("models") / "lm")
    return folder, theirs(model, IDS), their_greedy(model, IDS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_what_transformers_computes_in_any_chunks(kind, backend):
    folder, logits, ids = kind
    assert_same_in_any_chunks(Model(folder, backend), IDS, logits, ids, CLOSE)


@pytest.fixture(scope="module")
def windowed(tmp_path_factory):
    model = build("qwen3 with a window")
    folder = save(model, tmp_path_factory.mktemp("models") / "lm")
    return folder, theirs(model, IDS)


WRONG = {
    "another base": lambda attn: replace(attn, rotary=replace(attn.rotary, theta=2e4)),
    "positions that do not turn": lambda attn: replace(
        attn, rotary=replace(attn.rotary, scaling=1e9)
    ),
    "half of a head turns": lambda attn: replace(attn, rotary=replace(attn.rotary, dims=8)),
    "no window": lambda attn: replace(attn, window=None),
    "a window of one more": lambda attn: replace(attn, window=attn.window and attn.window + 1),
    "a window of one less": lambda attn: replace(attn, window=attn.window and attn.window - 1),
    "another scale": lambda attn: replace(attn, scale=attn.scale * 1.1),
    "one head of keys": lambda attn: replace(attn, num_kv_heads=1, num_heads=2),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("why", [*list(WRONG)[:-1], "no norm of queries and keys", "another eps"])
def test_what_is_nearly_right_does_not_pass(windowed, backend, why):
    folder, logits = windowed

    def change(found):
        settings = found.settings
        if why in WRONG:
            layers = tuple(WRONG[why](attn) for attn in settings.layers)
            return replace(found, settings=replace(settings, layers=layers))
        changes = {"qk_norm": False} if "norm" in why else {"rms_norm_eps": 1e-2}
        return replace(found, settings=replace(settings, **changes))

    assert away(Model(folder, backend).logits(IDS), logits) < CLOSE
    assert away(Model(folder, backend, change).logits(IDS), logits) > 10 * CLOSE


def quantized(folder, bits, size, names):
    """Pack modules as mx.quantize does; return a folder of the same numbers, unpacked."""
    state = load_file(folder / "model.safetensors")
    plain = folder.with_name("plain")
    plain.mkdir()
    text = (folder / "config.json").read_text()
    (plain / "config.json").write_text(text)
    dense = dict(state)
    for name in [n for n in state if n.endswith(names)]:
        path = name.removesuffix(".weight")
        parts = mx.quantize(mx.array(state.pop(name).numpy()), group_size=size, bits=bits)
        dense[name] = torch.from_numpy(np.array(mx.dequantize(*parts, size, bits)))
        for part, value in zip(("weight", "scales", "biases"), parts, strict=True):
            state[f"{path}.{part}"] = torch.from_numpy(np.array(value))
    save_file(dense, plain / "model.safetensors", metadata={"format": "mlx"})
    save_file(state, folder / "model.safetensors", metadata={"format": "mlx"})
    messages = f'"quantization": {{"group_size": {size}, "bits": {bits}}}, '
    (folder / "config.json").write_text(text.replace("{", "{" + messages, 1))
    return plain


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("bits", "size"), [(4, 32), (4, 64), (8, 32), (8, 64)])
def test_packed_weights_are_the_numbers_that_they_stand_for(tmp_path, backend, bits, size):
    model = build("qwen3", hidden_size=128, intermediate_size=128, num_hidden_layers=2, head_dim=32)
    folder = save(model, tmp_path / "lm")
    names = ("embed_tokens.weight", "_proj.weight")
    plain = quantized(folder, bits, size, names)
    model.load_state_dict(load_file(plain / "model.safetensors"), strict=False)
    model.tie_weights()
    logits, ids = theirs(model, IDS), their_greedy(model, IDS)
    made = Model(folder, backend)
    assert len([m for m in made.found.modules.values() if m.scheme]) == 15
    assert away(made.logits(IDS, 7), logits) < CLOSE
    assert made.greedy(IDS) == ids


def test_onnx_runtime_gets_its_own_kernels_where_it_has_them(tmp_path, monkeypatch):
    """And plain products for the heads and windows that they do not take."""
    nodes = []
    genuine = OnnxModel.node
    monkeypatch.setattr(
        OnnxModel, "node", lambda self, op, *more, **rest: nodes.append(op) or
        genuine(self, op, *more, **rest)
    )  # fmt: skip
    for name, fused in (("llama", 3), ("qwen3 with a window", 1), ("heads of 12", 0),
                        ("heads of 24", 0), ("mistral", 0)):  # fmt: skip
        nodes.clear()
        made = Model(save(build(name), tmp_path / name.replace(" ", "-")), "onnx")
        assert nodes.count("GroupQueryAttention") == fused, name
        assert [is_fused(attn) for attn in made.found.settings.layers].count(True) == fused


def test_the_table_is_made_of_the_files():
    assert architectures()["qwen2"] is llama.ARCHITECTURE
    assert {"llama", "mistral", "qwen2", "qwen3"} <= architectures().keys()
    assert all(isinstance(each, decoder.Architecture) for each in architectures().values())


def test_every_key_is_read_or_refused_by_name_and_line(tmp_path):
    folder = save(build("llama"), tmp_path / "lm", clip_qkv=4.0, sliding_window=7)
    lines = (folder / "config.json").read_text().splitlines()
    (line,) = (number for number, text in enumerate(lines, 1) if "clip_qkv" in text)
    assert error_text(folder).startswith(
        f"repo/lm/config.json:{line}:2: W257 composer's llama does not read clip_qkv, which is 4.0"
    )
    settings = parsed(folder, ignore=("clip_qkv",)).settings
    assert (settings.mlp_bias, settings.layers[0].window) == (True, None)


@pytest.mark.parametrize("kind", ["default", "linear"])
def test_a_part_of_a_head_is_not_rotated_where_transformers_rotates_all(tmp_path, kind):
    rules = {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0, "partial_rotary_factor": 0.5}
    folder = save(build("llama"), tmp_path / "lm", rope_parameters=rules)
    what = "W257 composer's llama turns whole heads, and partial_rotary_factor is 0.5"
    assert what in error_text(folder)
