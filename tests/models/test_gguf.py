"""Decoders in GGUF files against transformers with the weights that gguf dequantizes."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.models import gguf_files
from tests.models.decoders import (
    Model,
    assert_same_in_any_chunks,
    away,
    save,
    their_greedy,
    theirs,
)

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE = 1e-4
IDS = np.random.default_rng(5).integers(3, 160, 40)
SIZES = {
    "vocab_size": 160,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "initializer_range": 0.08,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
FULL, SLIDING = "full_attention", "sliding_attention"
ROPE = {
    FULL: {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    SLIDING: {"rope_type": "default", "rope_theta": 1e4},
}
GEMMA = {
    "query_pre_attn_scalar": 32, "sliding_window": 11, "num_hidden_layers": 6,
    "layer_types": [SLIDING] * 5 + [FULL], "rope_parameters": ROPE, "tie_word_embeddings": True,
}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192, "rope_theta": 500_000.0}  # fmt: skip
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig, {"rms_norm_eps": 1e-5}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"tie_word_embeddings": True}),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig, GEMMA),
}
MORE = {"gemma3": {"rope__scaling__type": "linear", "rope__scaling__factor": 8.0}}


def q4_k_m(name):
    """The types of llama.cpp's Q4_K_M: more bits for some matrices than for the others."""
    if name in ("output.weight", "token_embd.weight") or "attn_v" in name:
        return "q6_k"
    return "q5_k" if "ffn_down" in name else "q4_k"


KINDS = {
    "f32": lambda name: "f32",
    "f16": lambda name: "f16",
    "q8_0": lambda name: "q8_0",
    "q4_0": lambda name: "q8_0" if name == "token_embd.weight" else "q4_0",
    "q4_k_m": q4_k_m,
    "others": lambda name: ["q5_0", "q5_1", "q4_1", "bf16", "q2_k", "q3_k"][sum(name.encode()) % 6],
}


def build(architecture, **more):
    torch.manual_seed(0)
    model, config, own = MODELS[architecture]
    made = config(**(SIZES | own | more))
    return model._from_config(made, attn_implementation="eager").eval()


def written(architecture, kind, folder, **more):
    """Return a GGUF file, and the model of transformers with the weights that it stands for."""
    model = build(architecture, **more)
    checkpoint = save(model, folder / "lm")
    file = folder / "model.gguf"
    meant = gguf_files.write(
        checkpoint, file, architecture, KINDS[kind], **MORE.get(architecture, {})
    )
    state = {name: torch.tensor(value) for name, value in meant.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert missing in ([], ["lm_head.weight"])
    return file, model


@pytest.fixture(scope="module", params=MODELS)
def architecture(request):
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_transformers_computes_in_any_chunks(architecture, kind, tmp_path):
    file, model = written(architecture, kind, tmp_path)
    logits, ids = theirs(model, IDS), their_greedy(model, IDS, count=24)
    assert_same_in_any_chunks(Model(file, "onnx"), IDS, logits, ids, CLOSE)


def test_numpy_computes_the_same(architecture, tmp_path):
    file, model = written(architecture, "q4_k_m", tmp_path)
    assert away(Model(file, "numpy").logits(IDS), theirs(model, IDS)) < CLOSE


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_transformers_reads_the_same_file_alike(architecture, tmp_path):
    """It has no head_dim of Qwen3 and no linear scaling of Gemma-3 from GGUF."""
    file, _ = written(architecture, "q8_0", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name).eval()
    assert away(Model(file, "onnx").logits(IDS), theirs(model, IDS)) < CLOSE
