"""The block that decoders attend with, on three backends, against torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers.models.phi.modeling_phi import apply_rotary_pos_emb

from composer.components.models.attention import Attention
from composer.components.models.rotary import Rotary
from composer.components.onnx.decoder_blocks import is_fused
from tests.models.decoders import BACKENDS, Model, away, save
from tests.models.test_llama import build

WIDTH, LENGTH = 64, 23
X = np.random.default_rng(2).normal(0, 1, (LENGTH, WIDTH)).astype(np.float32)
AT = "model.layers.0.self_attn"
CASES = {
    "whole heads": Attention(4, 2, 16, 0.25, Rotary(16, 1e4)),
    "half of a head turns": Attention(4, 2, 32, 0.25, Rotary(16, 1e4)),
    "a quarter of a head turns": Attention(2, 1, 32, 0.25, Rotary(8, 1e3)),
    "heads of 20": Attention(2, 2, 20, 0.3, Rotary(20, 1e4)),
    "heads of 10 of which 6 turn": Attention(4, 1, 10, 0.3, Rotary(6, 1e4)),
    "a window": Attention(4, 2, 16, 0.25, Rotary(16, 1e4), window=5),
    "a window of one": Attention(4, 2, 16, 0.25, Rotary(16, 1e4), window=1),
    "a window wider than all": Attention(4, 2, 16, 0.25, Rotary(16, 1e4), window=99),
}
FUSED = ("whole heads", "half of a head turns")


def forward(v, settings, x):
    """Attend once, and add rows of the table."""
    (attn,) = settings.layers
    q, k, values = v.linears(x, [f"{AT}.{name}_proj" for name in "qkv"])
    context = v.linear(v.cached_attention(q, k, values, 0, attn), f"{AT}.o_proj")
    rows = v.gather(v.weight("model.embed_tokens.weight"), v.constant(np.array([7])))
    return v.chosen(context + rows)


def expected(weights, attn):
    """Compute the same in torch, all rows at once."""
    q, k, v = (X @ weights[f"{AT}.{name}_proj.weight"].T for name in "qkv")
    heads = (attn.num_heads, attn.num_kv_heads, attn.num_kv_heads)
    q, k, v = (
        torch.tensor(x).view(LENGTH, count, attn.head_dim).transpose(0, 1)[None]
        for x, count in zip((q, k, v), heads, strict=True)
    )
    dims = attn.rotary.dims
    angles = torch.arange(LENGTH)[:, None] / attn.rotary.theta ** (torch.arange(0, dims, 2) / dims)
    cos, sin = (torch.cat([part, part], -1)[None] for part in (angles.cos(), angles.sin()))
    rotated, as_it_is = zip(
        *(x.split([dims, attn.head_dim - dims], -1) for x in (q, k)), strict=True
    )
    q, k = (
        torch.cat(pair, -1)
        for pair in zip(apply_rotary_pos_emb(*rotated, cos, sin), as_it_is, strict=True)
    )
    distance = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
    mask = (distance >= 0) & (distance < (attn.window or LENGTH))
    shared = attn.num_heads // attn.num_kv_heads
    context = torch.nn.functional.scaled_dot_product_attention(
        q, k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1), mask, scale=attn.scale
    )
    context = context[0].transpose(0, 1).reshape(LENGTH, -1).numpy()
    return context @ weights[f"{AT}.o_proj.weight"].T + weights["model.embed_tokens.weight"][7]


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    attn = CASES[request.param]
    model = build("llama", vocab_size=WIDTH, num_hidden_layers=1, head_dim=attn.head_dim,
                  num_attention_heads=attn.num_heads, num_key_value_heads=attn.num_kv_heads,
                  attention_bias=False)  # fmt: skip
    folder = save(model, tmp_path_factory.mktemp("models") / "lm")
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    return request.param, folder, attn, expected(weights, attn)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_the_formula_in_any_chunks(case, backend):
    name, folder, attn, want = case
    assert is_fused(attn) == (name in FUSED)

    def change(found):
        settings = replace(found.settings, layers=(attn,))
        return replace(found, forward=forward, settings=settings)

    model = Model(folder, backend, change)
    for chunk in (1, 7, LENGTH):
        cache = model.decoder.begin()
        parts = [X[at : at + chunk] for at in range(0, LENGTH, chunk)]
        found = np.concatenate([model.read(part, cache, every=True) for part in parts])
        assert away(found, want) < 1e-5, chunk
    assert away(model.read(X, model.decoder.begin()), want[-1:]) < 1e-5
