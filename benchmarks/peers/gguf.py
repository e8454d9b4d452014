"""Write a checkpoint of Qwen3 or Gemma-4 as GGUF: `python -m benchmarks.peers.gguf FOLDER FILE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

NEVER = (
    1e30  # what divides the angles of pairs that are not turned, as llama.cpp's converter has it
)


def write_gguf(folder: Path, path: Path) -> None:
    """Write the text decoder, the same float32 numbers.

    A prompt can be ids, but an answer comes as text: token 5 is called `t5`.
    """
    import gguf
    from safetensors import safe_open

    config = json.loads((folder / "config.json").read_text())
    config = {**config, **config.get("text_config", {})}
    kind, layers = config["model_type"].removesuffix("_text"), config["num_hidden_layers"]
    made = gguf.GGUFWriter(path, kind)
    _add_vocabulary(made, config)
    made.add_block_count(layers)
    made.add_context_length(config["max_position_embeddings"])
    made.add_embedding_length(config["hidden_size"])
    made.add_head_count(config["num_attention_heads"])
    made.add_head_count_kv(config["num_key_value_heads"])
    made.add_layer_norm_rms_eps(config["rms_norm_eps"])
    (_add_gemma4 if kind == "gemma4" else _add_qwen3)(made, config)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, kind.upper()), layers)
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        text = [name for name in file.keys() if "vision" not in name]  # noqa: SIM118 - no dict
        for name in text:
            plain = name.replace("language_model.", "").removesuffix(".weight")
            renamed = names.get_name(plain)
            if renamed is None:
                raise ValueError(f"GGUF has no name for {name}")
            made.add_tensor_info(f"{renamed}.weight", *_described(file.get_slice(name)))
        if kind == "gemma4":
            turned = _turned(config)
            made.add_tensor_info("rope_freqs.weight", turned.shape, turned.dtype, turned.nbytes)
        made.write_header_to_file()
        made.write_kv_data_to_file()
        made.write_ti_data_to_file()
        for name in text:
            made.write_tensor_data(file.get_tensor(name))
        if kind == "gemma4":
            made.write_tensor_data(turned)
    made.close()


def _described(tensor: Any) -> tuple[list[int], Any, int]:
    """Return what the header says of a tensor, which is not read for it."""
    import numpy as np

    shape = tensor.get_shape()
    if tensor.get_dtype() != "F32":
        raise ValueError(f"it is of {tensor.get_dtype()}, not of F32")
    return shape, np.dtype(np.float32), 4 * int(np.prod(shape))


def _add_vocabulary(made: Any, config: dict[str, Any]) -> None:
    ends = config["eos_token_id"]
    end = ends[0] if isinstance(ends, list) else ends
    made.add_tokenizer_model("gpt2")
    made.add_tokenizer_pre("qwen2")
    made.add_token_list([f"t{id}" for id in range(config["vocab_size"])])
    made.add_token_types([3 if id == end else 1 for id in range(config["vocab_size"])])
    made.add_token_merges(["t 0"])
    made.add_eos_token_id(end)
    made.add_bos_token_id(end)  # or it would be 11
    made.add_add_bos_token(False)


def _add_qwen3(made: Any, config: dict[str, Any]) -> None:
    made.add_feed_forward_length(config["intermediate_size"])
    made.add_key_length(config["head_dim"])
    made.add_value_length(config["head_dim"])
    made.add_rope_freq_base(config["rope_theta"])


def _add_gemma4(made: Any, config: dict[str, Any]) -> None:
    layers, shared = config["num_hidden_layers"], config["num_kv_shared_layers"]
    inner, wide = config["intermediate_size"], 1 + config["use_double_wide_mlp"]
    made.add_feed_forward_length([inner] * (layers - shared) + [inner * wide] * shared)
    made.add_shared_kv_layers(shared)
    made.add_embedding_length_per_layer_input(config["hidden_size_per_layer_input"])
    made.add_final_logit_softcapping(config["final_logit_softcapping"])
    made.add_sliding_window(config["sliding_window"])
    made.add_sliding_window_pattern([it == "sliding_attention" for it in config["layer_types"]])
    for add in (made.add_key_length, made.add_value_length, made.add_rope_dimension_count):
        add(config["global_head_dim"])
    swa = (made.add_key_length_swa, made.add_value_length_swa, made.add_rope_dimension_count_swa)
    for add in swa:
        add(config["head_dim"])
    rope = config["rope_parameters"]
    made.add_rope_freq_base(rope["full_attention"]["rope_theta"])
    made.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])


def _turned(config: dict[str, Any]) -> Any:
    """Return what divides the angles of the layers that see everything: some pairs do not turn."""
    import numpy as np

    pairs = config["global_head_dim"] // 2
    factors = np.full(pairs, NEVER, np.float32)
    factors[: int(pairs * config["rope_parameters"]["full_attention"]["partial_rotary_factor"])] = 1
    return factors


if __name__ == "__main__":
    write_gguf(Path(sys.argv[1]), Path(sys.argv[2]))
