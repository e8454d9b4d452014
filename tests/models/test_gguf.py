"""Decoders in GGUF files against transformers with the weights that gguf dequantizes."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import composer
from composer.components.checkpoints.gguf.config import checkpoint_config
from composer.formats import headers
from composer.formats.gguf import read_gguf
from composer.formats.safetensors import Tensor
from composer.formats.vocab_merges import QWEN2
from tests.formats.test_gguf_tokenizer import byte_level, byte_level_metadata
from tests.models import gguf_files
from tests.models.decoders import (
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
GEMMA2 = {
    "query_pre_attn_scalar": 32, "sliding_window": 11, "attn_logit_softcapping": 0.7,
    "final_logit_softcapping": 3.0, "tie_word_embeddings": True,
}  # fmt: skip
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
    "gemma2": (Gemma2ForCausalLM, Gemma2Config, GEMMA2),
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
    "iq4": lambda name: "iq4_nl" if "ffn" in name else "iq4_xs",
    "others": lambda name: ["q5_0", "q5_1", "q4_1", "bf16", "q2_k", "q3_k"][sum(name.encode()) % 6],
}

CASES = [
    *[("llama", kind) for kind in KINDS],
    ("qwen2", "q8_0"),
    ("qwen3", "q4_k_m"),
    ("gemma2", "q4_0"),
    ("gemma3", "others"),
]


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


@pytest.mark.parametrize(("architecture", "kind"), CASES)
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


def test_llama_3s_divisors_are_its_rule(tmp_path):
    """llama.cpp has them as a tensor, and nothing of the rule in the metadata."""
    pairs = np.arange(0, 32, 2) / 32
    lengths = 2 * np.pi * 500_000.0**pairs
    smooth = np.clip((8192 / lengths - 1) / 3, 0, 1)
    divisors = 1 / ((1 - smooth) / 8 + smooth)
    model = build("llama", rope_parameters=LLAMA3, max_position_embeddings=131072)
    checkpoint = save(model, tmp_path / "lm")
    file = tmp_path / "model.gguf"
    gguf_files.write(checkpoint, file, "llama", rope_factors=divisors)
    assert away(Model(file, "onnx").logits(IDS), theirs(model, IDS)) < CLOSE
    unscaled = build("llama", rope_parameters={"rope_type": "default", "rope_theta": 500_000.0})
    unscaled.load_state_dict(model.state_dict())
    assert away(Model(file, "onnx").logits(IDS), theirs(unscaled, IDS)) > 10 * CLOSE
    gguf_files.write(checkpoint, file, "llama", rope_factors=divisors * 1.001)
    assert error_text(file) == (
        "repo/lm: W257 rope_freqs.weight holds other divisors than Llama 3's rule gives\n"
        "    hint: give the checkpoint that it was converted from, in safetensors"
    )


@pytest.mark.parametrize("factors", [[0.0] * 16, [float("nan")] * 16, [1e30] * 16, []])
def test_divisors_that_cannot_be_are_no_rule(factors, tmp_path):
    checkpoint = save(build("llama"), tmp_path / "lm")
    gguf_files.write(checkpoint, tmp_path / "model.gguf", "llama", rope_factors=factors)
    assert error_text(tmp_path / "model.gguf") == (
        "repo/lm: W257 rope_freqs.weight holds other divisors than Llama 3's rule gives\n"
        "    hint: give the checkpoint that it was converted from, in safetensors"
    )


def test_a_base_that_is_a_text_is_no_rule(tmp_path):
    checkpoint, file = save(build("llama"), tmp_path / "lm"), tmp_path / "model.gguf"
    text = {"rope__freq_base": "ten thousand"}
    gguf_files.write(checkpoint, file, "llama", rope_factors=[1.0] * 16, **text)
    assert "W257 rope_freqs.weight holds other divisors" in error_text(file)


def test_rows_in_llama_cpps_order_are_no_checkpoint(tmp_path):
    """Queries and keys taken as they are stored give other logits."""
    file, model = written("llama", "f32", tmp_path)
    as_stored = Model(file, "onnx", change=without_order).logits(IDS)
    assert away(as_stored, theirs(model, IDS)) > 100 * CLOSE


def without_order(found):
    modules = {}
    for path, module in found.modules.items():
        parts = {}
        for name, tensor in module.parts.items():
            values = {each.name: getattr(tensor, each.name) for each in fields(Tensor)}
            parts[name] = Tensor(**values)
        modules[path] = replace(module, parts=parts)
    return replace(found, modules=modules)


def test_packed_matrices_are_multiplied_as_they_are_stored(tmp_path):
    """Q4_0 and Q8_0 stay packed, others are widened, which the plan shows."""
    file, _ = written("qwen3", "q4_0", tmp_path)
    found = parsed(file)
    kinds = {m.scheme and (m.scheme.bits, m.scheme.group_size) for m in found.modules.values()
             if len(m.shape) == 2}  # fmt: skip
    assert kinds == {(4, 32), (8, 32)}
    assert not [cast for cast in found.casts if "q4_0" in cast or "q8_0" in cast]
    file, _ = written("qwen3", "q4_k_m", tmp_path)
    assert [cast.partition(":")[0] for cast in parsed(file).casts] == [
        "q6_k -> f32, exactly, in 3 modules",
    ]


IGNORE = (
    "\n    hint: if it changes nothing in these weights, name it in `ignore` of the component's "
    "config"
)
REFUSED = {
    "another architecture": (
        {"general.architecture": "bert"},
        "W241 is a GGUF file of the architecture 'bert'\n"
        "    read are gemma2, gemma3, gemma4, gemma4e2b, llama, qwen2, qwen3, qwen3vl\n"
        "    hint: give the checkpoint that it was converted from, in safetensors",
    ),
    "a key that nothing reads": (
        {"qwen3.attention.temperature_scale": 2.0},
        "W257 composer's qwen3 does not read qwen3.attention.temperature_scale, which is 2.0"
        + IGNORE,
    ),
    "values of another size than keys": (
        {"qwen3.attention.value_length": 64},
        "W257 composer's qwen3 does not read qwen3.attention.value_length, which is 64" + IGNORE,
    ),
    "positions that turn part of a head": (
        {"qwen3.rope.dimension_count": 16},
        "W257 composer's qwen3 does not read qwen3.rope.dimension_count, which is 16" + IGNORE,
    ),
    "fewer layers than tensors": (
        {"qwen3.block_count": 1},
        "W241 num_hidden_layers is 1 but there are tensors of 2 layers\n"
        "    tensors of layers 1 too",
    ),
    "a scaling that is not computed": (
        {"qwen3.rope.scaling.type": "longrope"},
        "W257 composer's qwen3 does not compute the rope scaling 'longrope'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_refuses(case, tmp_path, monkeypatch):
    changes, message = REFUSED[case]
    file, _ = written("qwen3", "f16", tmp_path)

    def changed(location, files=None):
        found = read_gguf(location, files)
        return replace(found, metadata=found.metadata | changes)

    monkeypatch.setattr(headers, "read_gguf", changed)
    assert error_text(file) == f"repo/lm: {message}"


def test_gemma_3s_windows_and_scale_that_llama_cpp_has_in_its_code():
    config = checkpoint_config({"gemma3.block_count": 62, "gemma3.embedding_length": 5376,
                                "gemma3.attention.head_count": 32,
                                "gemma3.attention.key_length": 128}, "gemma3")  # fmt: skip
    assert config["query_pre_attn_scalar"] == 168
    config = checkpoint_config({"gemma2.block_count": 46, "gemma2.embedding_length": 4608,
                                "gemma2.attention.head_count": 32,
                                "gemma2.attention.key_length": 128}, "gemma2")  # fmt: skip
    assert config["query_pre_attn_scalar"] == 144
    flags = [True, False, True]
    config = checkpoint_config(
        {"gemma3.attention.sliding_window_pattern": flags, "gemma3.rope.freq_base_swa": 2e4,
         "gemma3.attention.key_length": 256}, "gemma3"
    )  # fmt: skip
    assert config["layer_types"] == [SLIDING, FULL, SLIDING]
    assert (config["rope_local_base_freq"], config["query_pre_attn_scalar"]) == (2e4, 256)


def in_one_file(folder):
    """Write a bundle of a manifest and a GGUF file; return what transformers answers."""
    theirs_tokenizer = byte_level(QWEN2, False, True)
    metadata = byte_level_metadata(theirs_tokenizer, "qwen2")
    model = build("qwen3", vocab_size=len(metadata["tokens"]))
    file = folder / "model.gguf"
    checkpoint = save(model, folder / "lm")
    meant = gguf_files.write(checkpoint, file, "qwen3", KINDS["q8_0"], tokenizer=metadata)
    model.load_state_dict({n: torch.tensor(v) for n, v in meant.items()}, strict=False)
    (folder / "bundle.yaml").write_text(BUNDLE)
    prompt = theirs_tokenizer.encode("<|im_start|>the names<|im_end|>").ids
    return their_greedy(model, prompt, count=12)


def test_a_bundle_runs_with_the_tokenizer_of_the_file(tmp_path):
    """Checked, locked, verified and run, each id that of transformers."""
    expected = in_one_file(tmp_path)
    assert composer.check(tmp_path).ok
    composer.lock(tmp_path)
    assert composer.verify(tmp_path)
    with composer.load(tmp_path) as bundle:
        assert bundle.run(text="the names").outputs["ids"].tolist() == expected


BUNDLE = """composer: 1
name: in-one-file
sources: {repo: ./}
components:
  decoder: {use: onnx.lm, weights: repo/model.gguf}
  prompt:
    use: text.prompt
    files: repo/model.gguf
    config: {template: "<|im_start|>{text}<|im_end|>"}
inputs: {text: text}
graph:
  asked:  {run: prompt, with: {text: $text}}
  embeds: {run: decoder.embed, with: {ids: $asked.ids}}
  answer: {run: decoder.generate, with: {embeds: $embeds, max_tokens: 12}}
outputs: {text: $answer.text, ids: $answer.ids}
"""
