"""Tiny random models of transformers, saved as checkpoints that mlx.lm and onnx.lm load."""

import json

import mlx.core as mx
import numpy as np
import pytest
import torch
import transformers
from hypothesis import strategies as st

from composer.components.mlx.lm import MlxLanguageModel
from composer.core.component import ComponentConfig, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from composer.generation.engine import Engine, Request
from composer.generation.sampler import Sampling
from composer.generation.stop import StopRules
from tests.components.checkpoint_files import edit_config, write_checkpoint, write_tokenizer
from tests.streams import ids_of

ROWS, WIDTH, EOS = 192, 64, 2
KEYS = (
    "architectures", "eos_token_id", "hidden_size", "max_position_embeddings", "model_type",
    "num_hidden_layers", "quantization", "quantization_config", "rope_parameters", "rope_scaling",
    "text_config", "tie_word_embeddings", "vocab_size",
)  # fmt: skip
INNER = (
    *KEYS, "bits", "format", "group_size", "mode", "model.embed_tokens", "mrope_section",
    "quant_algo", "quant_method", "rope_type", "scale_fmt", "type", "weight_block_size",
)  # fmt: skip
IDS = np.random.default_rng(0).integers(3, ROWS, 17)
SIZES = {
    "vocab_size": ROWS,
    "hidden_size": WIDTH,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": EOS,
    "pad_token_id": 0,
}
KINDS = {
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM, {}),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM, {}),
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, {}),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM, {}),
    "gemma3_text": (
        transformers.Gemma3TextConfig,
        transformers.Gemma3ForCausalLM,
        {"sliding_window": 8, "query_pre_attn_scalar": 16, "sliding_window_pattern": 3},
    ),
}


def torch_model(kind="qwen3", tied=True, **more):
    config_class, model_class, own = KINDS[kind]
    settings = {"rope_theta": 10000.0} | SIZES | own | more
    torch.manual_seed(0)
    model = model_class(config_class(tie_word_embeddings=tied, **settings)).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" in name:
                value.normal_(0.0 if "gemma" in kind else 1.0, 0.2)
    return model


def save(model, folder, dtype=torch.float32, **changes):
    """Write an mlx-lm folder: mlx-lm's names are those of transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(model.config.to_json_string()) | changes
    config.setdefault("sliding_window_pattern", 3)
    config["rope_theta"] = 10000.0
    config.pop("rope_parameters" if model.config.model_type != "qwen3" else "", None)
    config = {key: value for key, value in config.items() if value is not None}
    state = {name: value.to(dtype).contiguous() for name, value in model.state_dict().items()}
    if config["tie_word_embeddings"]:
        del state["lm_head.weight"]
    write_checkpoint(folder, config, state)
    write_tokenizer(folder, ROWS)
    return folder


def edit(folder, **changes):
    return edit_config(folder, changes, left_out=None)


def spec(folder, precision=None, files=None):
    location = Location("repo", "", folder.parent) / folder.name
    other = files and Location("repo", "", files.parent) / files.name
    return Spec("decoder", ComponentConfig(), location, other, precision)


def load(folder, precision=None):
    component_spec = spec(folder, precision)
    return MlxLanguageModel.load(
        component_spec, MlxLanguageModel.facts(component_spec, Headers()), Placement()
    )


def error_text(folder, precision=None):
    with pytest.raises(ComposerError) as caught:
        MlxLanguageModel.facts(spec(folder, precision), Headers())
    return str(caught.value).replace(f"repo/{folder.name}", "repo/lm")


def greedy(lm, embeds, count=24):
    return ids_of(lm.generate(embeds, max_tokens=count))


def together(lm, prompts, counts):
    """Return the ids of several requests, each begun while those before it are in flight."""
    engine, answers = Engine(lm.decoder, lm.tokenizer), []
    for prompt, count in zip(prompts, counts, strict=True):
        answers.append(engine.add(Request(prompt, Sampling(), StopRules(lm.stop, count))))
        engine.advance()
    while engine.busy:
        engine.advance()
    return [answer.ids for answer in answers]


def greedy_of_torch(model, ids=IDS, count=24):
    """Take the likeliest token again and again, over the whole sequence each time."""
    ids = torch.tensor(ids)[None]
    with torch.no_grad():
        for _ in range(count):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    return ids[0, -count:].tolist()


def f32(value):
    return np.array(value.astype(mx.float32))


def mixed(path, module):
    leaf = path.rpartition(".")[2]
    if leaf in ("q_proj", "k_proj", "v_proj", "o_proj"):
        return {"group_size": 32, "bits": 8}
    return {"group_size": 64, "bits": 4} if leaf in ("gate_proj", "up_proj", "down_proj") else False


SCHEMES = {
    "uniform 4": (64, 4, None),
    "uniform 8": (32, 8, None),
    "mixed 8-4": (64, 4, mixed),
    "only the table": (64, 4, lambda path, module: path.endswith("embed_tokens")),
}


def quantized(model, folder, group_size, bits, predicate):
    from mlx_lm.utils import load_model, quantize_model, save_config, save_model

    made, config = load_model(save(model, folder))
    made, config = quantize_model(made, config, group_size, bits, quant_predicate=predicate)
    save_model(folder, made)
    save_config(config, folder / "config.json")
    (folder / "model.safetensors.index.json").unlink()
    return folder


def dequantized(model, lm):
    """Return the torch model with the numbers that the packed weights stand for."""
    state = {}
    for path, module in lm.model.named_modules():
        if "scales" in module:
            state[f"{path}.weight"] = mx.dequantize(
                module.weight,
                module.scales,
                module.get("biases"),
                group_size=module.group_size,
                bits=module.bits,
                mode=module.mode,
            )
    state = {name: torch.tensor(f32(value)) for name, value in state.items()}
    left = model.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    model.tie_weights()
    return model


def table_of(folder):
    return json.loads((folder / "config.json").read_text())["quantization"]


def without(state, *names):
    for name in names:
        del state[name]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["qwen3", "gemma3_text", "mrope", "yarn", "awq", "fp8", "affine"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(INNER) | st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
