"""Write a checkpoint of Qwen3 or Gemma-4 as GGUF, in float32 or packed.

`python -m benchmarks.peers.gguf FOLDER FILE [q4_0|q8_0]`; packed ones have q8_0 embeddings.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

NO_ROTATION = (
    1e30  # what divides the angles of pairs that are not turned, as llama.cpp's converter has it
)


def write_gguf(folder: Path, path: Path, packed: str | None = None) -> None:
    """Write the text decoder in the same float32, or its matrices packed.

    A prompt can be ids, but answers are text: token 5 is `t5`.
    """
    import gguf
    from safetensors import safe_open

    config = json.loads((folder / "config.json").read_text())
    config = {**config, **config.get("text_config", {})}
    kind, layers = config["model_type"].removesuffix("_text"), config["num_hidden_layers"]
    writer = gguf.GGUFWriter(path, kind)
    _add_vocabulary(writer, config)
    writer.add_block_count(layers)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    (_add_gemma4 if kind == "gemma4" else _add_qwen3)(writer, config)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, kind.upper()), layers)
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        text = [name for name in file.keys() if "vision" not in name]  # noqa: SIM118 - no dict
        for name in text:
            plain = name.replace("language_model.", "").removesuffix(".weight")
            renamed = names.get_name(plain)
            if renamed is None:
                raise ValueError(f"GGUF has no name for {name}")
            described = _describe_tensor(file.get_slice(name), _type_of(renamed, packed))
            writer.add_tensor_info(f"{renamed}.weight", *described)
        if kind == "gemma4":
            rope_factors = _rope_factors(config)
            writer.add_tensor_info(
                "rope_freqs.weight", rope_factors.shape, rope_factors.dtype, rope_factors.nbytes
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name in text:
            renamed = names.get_name(name.replace("language_model.", "").removesuffix(".weight"))
            tensor, kind = file.get_tensor(name), _type_of(renamed, packed)
            if kind is not None and tensor.ndim == 2:
                tensor = gguf.quants.quantize(tensor, kind)
            writer.write_tensor_data(tensor)
        if kind == "gemma4":
            writer.write_tensor_data(rope_factors)
    writer.close()


def _type_of(name: str, packed: str | None) -> Any:
    """Return what a matrix is packed as."""
    import gguf

    if packed is None:
        return None
    form = "q8_0" if name == "token_embd" else packed
    return gguf.GGMLQuantizationType[form.upper()]


def _describe_tensor(tensor: Any, packed: Any) -> tuple[Any, ...]:
    """Return a tensor's shape, dtype and size from the header, and what it is packed as."""
    import gguf
    import numpy as np

    shape = tensor.get_shape()
    if tensor.get_dtype() != "F32":
        raise ValueError(f"it is of {tensor.get_dtype()}, not of F32")
    if packed is None or len(shape) != 2:
        return shape, np.dtype(np.float32), 4 * int(np.prod(shape))
    shape = list(gguf.quant_shape_to_byte_shape(shape, packed))
    return shape, np.dtype(np.uint8), int(np.prod(shape)), packed


def _add_vocabulary(writer: Any, config: dict[str, Any]) -> None:
    ends = config["eos_token_id"]
    end = ends[0] if isinstance(ends, list) else ends
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"t{id}" for id in range(config["vocab_size"])])
    writer.add_token_types([3 if id == end else 1 for id in range(config["vocab_size"])])
    writer.add_token_merges(["t 0"])
    writer.add_eos_token_id(end)
    writer.add_bos_token_id(end)  # or it would be 11
    writer.add_add_bos_token(False)


def _add_qwen3(writer: Any, config: dict[str, Any]) -> None:
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])


def _add_gemma4(writer: Any, config: dict[str, Any]) -> None:
    layers, shared = config["num_hidden_layers"], config["num_kv_shared_layers"]
    inner, wide = config["intermediate_size"], 1 + config["use_double_wide_mlp"]
    writer.add_feed_forward_length([inner] * (layers - shared) + [inner * wide] * shared)
    writer.add_shared_kv_layers(shared)
    writer.add_embedding_length_per_layer_input(config["hidden_size_per_layer_input"])
    writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    writer.add_sliding_window(config["sliding_window"])
    writer.add_sliding_window_pattern([it == "sliding_attention" for it in config["layer_types"]])
    for add in (writer.add_key_length, writer.add_value_length, writer.add_rope_dimension_count):
        add(config["global_head_dim"])
    swa = (
        writer.add_key_length_swa,
        writer.add_value_length_swa,
        writer.add_rope_dimension_count_swa,
    )
    for add in swa:
        add(config["head_dim"])
    rope = config["rope_parameters"]
    writer.add_rope_freq_base(rope["full_attention"]["rope_theta"])
    writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])


def _rope_factors(config: dict[str, Any]) -> Any:
    """Return the divisors of rotary angles in full-attention layers: some pairs do not rotate."""
    import numpy as np

    pairs = config["global_head_dim"] // 2
    factors = np.full(pairs, NO_ROTATION, np.float32)
    factors[: int(pairs * config["rope_parameters"]["full_attention"]["partial_rotary_factor"])] = 1
    return factors


if __name__ == "__main__":
    write_gguf(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
