"""Decode by llama.cpp, from a GGUF file with the same float32 numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.drivers.protocol import serve

NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # GGUF's names of a layer's tensors


def write_gguf(folder: Path, path: Path) -> None:
    """Write a Qwen3 checkpoint as GGUF, without a vocabulary: ids go in and come out."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    made = gguf.GGUFWriter(path, "qwen3")
    made.add_block_count(config["num_hidden_layers"])
    made.add_context_length(config["max_position_embeddings"])
    made.add_embedding_length(config["hidden_size"])
    made.add_feed_forward_length(config["intermediate_size"])
    made.add_head_count(config["num_attention_heads"])
    made.add_head_count_kv(config["num_key_value_heads"])
    made.add_key_length(config["head_dim"])
    made.add_value_length(config["head_dim"])
    made.add_layer_norm_rms_eps(config["rms_norm_eps"])
    made.add_rope_freq_base(config["rope_theta"])
    made.add_vocab_size(config["vocab_size"])
    made.add_tokenizer_model("gpt2")
    made.add_tokenizer_pre("qwen2")
    made.add_token_list([f"t{id}" for id in range(config["vocab_size"])])
    made.add_token_types([1] * config["vocab_size"])
    made.add_token_merges(["t 0"])
    made.add_eos_token_id(config["eos_token_id"][0])
    made.add_bos_token_id(config["eos_token_id"][0])
    made.add_add_bos_token(False)
    for name, tensor in load_file(folder / "model.safetensors").items():
        made.add_tensor(_renamed(name.removeprefix("model.").removesuffix(".weight")), tensor)
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()


def _renamed(name: str) -> str:
    if not name.startswith("layers."):
        return {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight"}[name]
    _, layer, part = name.split(".", 2)
    return f"blk.{layer}.{NAMES[part]}.weight"


def load(folder: str, ends: list[int], **_: Any) -> Callable[..., list[int]]:
    """Write the GGUF file beside the checkpoint, where it is not there, and load it."""
    from llama_cpp import Llama

    path = Path(folder).with_name(f"{Path(folder).name}.gguf")
    if not path.exists():
        write_gguf(Path(folder), path)
    model = Llama(str(path), n_ctx=1024, verbose=False)

    def run(tokens: int, ids: list[int]) -> list[int]:
        model.reset()
        found: list[int] = []
        for token in model.generate(ids, temp=0.0, repeat_penalty=1.0):
            if token in ends or len(found) == tokens:
                break
            found.append(token)
        return found

    return run


if __name__ == "__main__":
    serve(load, "llama-cpp-python", "gguf")
