"""A decoder with DeepStack in NumPy, written by the guide to components."""

import numpy as np
from safetensors.numpy import load_file

from composer import Bound, Component, ComponentConfig, Facts, method
from composer.generation.engine import Request, generate
from composer.generation.sampler import Sampling
from composer.generation.stop import StopRules
from composer.generation.text import read_tokenizer

EPS = 1e-6


class State:
    """Every row so far, the rows that deeper layers add to them, and the logits that follow."""

    def __init__(self, rows, deep):
        self.rows, self.deep, self.logits = rows, deep, None


class DeepStack(Component, name="example.deepstack"):
    """Continue embeddings with Qwen3-VL's text decoder, with rows for its first layers."""

    requires = frozenset({"weights"})
    Config = ComponentConfig

    @classmethod
    def facts(cls, spec, headers):
        if headers is None:
            return Facts(unknown=True)
        config = headers.config(spec.weights)
        table = headers.safetensors(spec.weights)["embed_tokens.weight"]
        headers.tokenizer(spec.weights)
        dims = {"D": Bound(table.shape[1], f"{table.file}: embed_tokens.weight {table.shape}")}
        assert config["num_attention_heads"]
        return Facts(dims, dtype="f32", nbytes=table.nbytes)

    @classmethod
    def load(cls, spec, facts, placement):
        from composer.formats import Headers

        weights = load_file(spec.weights.path / "model.safetensors")
        tokenizer = read_tokenizer(spec.weights / "tokenizer.json")
        return cls(weights, Headers().config(spec.weights), tokenizer)

    def __init__(self, weights, config, tokenizer):
        self.weights, self.tokenizer = weights, tokenizer
        self.layers = config["num_hidden_layers"]
        self.heads = config["num_attention_heads"]
        self.groups = self.heads // config["num_key_value_heads"]
        self.head_dim = config["head_dim"]
        self.theta = config["rope_parameters"]["rope_theta"]

    @method(ids="i64 T", returns="T D @embed")
    def embed(self, ids):
        return self.weights["embed_tokens.weight"][ids]

    @method(
        embeds="T D @embed", at="bool T", deep="L N D",
        returns={"text": "text", "ids": "i64 M", "finish_reason": "text"}, streams=True,
    )  # fmt: skip
    def generate(self, embeds, at, deep, *, max_tokens: int = 64):
        """Add `deep[i]` to the marked rows behind layer i."""
        spread = np.zeros((len(deep), *embeds.shape), np.float32)
        spread[:, at] = deep
        stop = StopRules(frozenset({1}), max_tokens)
        return generate(self, self.tokenizer, Request((embeds, spread), Sampling(), stop))

    def prefill(self, prompt):
        state = State(*prompt)
        state.logits = self.forward(state)
        return state

    def step(self, states, tokens):
        for state, token in zip(states, tokens, strict=True):
            state.rows = np.concatenate([state.rows, self.embed([token])])
            none = np.zeros((len(state.deep), 1, state.rows.shape[1]), np.float32)
            state.deep = np.concatenate([state.deep, none], axis=1)
            state.logits = self.forward(state)

    def greedy(self, states):
        return [int(state.logits.argmax()) for state in states]

    def logits(self, state):
        return state.logits

    def retire(self, state):
        pass

    def forward(self, state):
        """Return the logits that follow the last row; every row is computed anew."""
        x = state.rows
        for number in range(self.layers):
            at = f"layers.{number}."
            x = x + self.attention(self.norm(x, f"{at}input_layernorm"), at)
            y = self.norm(x, f"{at}post_attention_layernorm")
            gate = self.linear(y, f"{at}mlp.gate_proj")
            up = self.linear(y, f"{at}mlp.up_proj")
            x = x + self.linear(gate / (1 + np.exp(-gate)) * up, f"{at}mlp.down_proj")
            if number < len(state.deep):
                x = x + state.deep[number]
        return self.linear(self.norm(x[-1:], "norm"), "lm_head")[0]

    def attention(self, x, at):
        rows = len(x)
        q, k, v = (
            self.linear(x, f"{at}self_attn.{name}_proj").reshape(rows, -1, self.head_dim)
            for name in "qkv"
        )
        q = self.rotated(self.norm(q, f"{at}self_attn.q_norm"))
        k = self.rotated(self.norm(k, f"{at}self_attn.k_norm"))
        k, v = (np.repeat(each, self.groups, axis=1) for each in (k, v))
        scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(self.head_dim)
        scores = np.where(np.tril(np.ones((rows, rows), bool)), scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        weights = (scores / scores.sum(-1, keepdims=True)).astype(np.float32)
        mixed = np.einsum("hts,shd->thd", weights, v).reshape(rows, -1)
        return self.linear(mixed, f"{at}self_attn.o_proj")

    def rotated(self, x):
        half = self.head_dim // 2
        angles = np.arange(len(x))[:, None] / self.theta ** (np.arange(half) / half)
        cos, sin = (np.tile(f(angles), 2)[:, None].astype(np.float32) for f in (np.cos, np.sin))
        turned = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
        return x * cos + turned * sin

    def linear(self, x, name):
        return x @ self.weights[f"{name}.weight"].T

    def norm(self, x, name):
        scale = 1 / np.sqrt(np.square(x).mean(-1, keepdims=True) + EPS)
        return x * scale.astype(np.float32) * self.weights[f"{name}.weight"]
