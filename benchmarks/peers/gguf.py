"""Write a checkpoint of Qwen3 or Gemma-4 as GGUF, in float32 or packed.

`python -m benchmarks.peers.gguf FOLDER FILE [q4_0|q8_0]`; packed ones have q8_0 embeddings. FOLDER
has config.json, and model.safetensors in float32 unless random numbers are wanted, `--random`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

NO_ROTATION = (
    1e30  # what divides the angles of pairs that are not turned, as llama.cpp's converter has it
)
BLOCK = 1 << 24  # numbers that are drawn, and then repeated


@dataclass(frozen=True)
class Tensors:
    """A decoder's tensors by their names in a checkpoint: shapes, and how one is read.

    `read` returns a tensor, or rows of it that repeat to the whole.
    """

    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]


def stored(file: Any) -> Tensors:
    """Return the text decoder's tensors of an open safetensors file of float32."""
    slices = {name: file.get_slice(name) for name in file.keys() if "vision" not in name}  # noqa: SIM118 - no dict
    other = {name for name, it in slices.items() if it.get_dtype() != "F32"}
    if other:
        raise ValueError(f"{min(other)} is not of F32")
    return Tensors(
        {name: tuple(it.get_shape()) for name, it in slices.items()},
        lambda name: file.get_tensor(name),
    )


def drawn(shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    """Return random tensors of these shapes; norms and scalars of layers are one."""

    def read(name: str) -> np.ndarray:
        shape = shapes[name]
        if len(shape) == 1:
            return np.ones(shape, np.float32)
        rows = min(shape[0], max(1, BLOCK // shape[1]))
        random = np.random.default_rng(len(name))
        scale = 0.02 if "embed" in name else shape[1] ** -0.5
        return random.standard_normal((rows, shape[1]), np.float32) * np.float32(scale)

    return Tensors(shapes, read)


def write_gguf(folder: Path, path: Path, packed: str | None = None, random: bool = False) -> None:
    """Write the text decoder in the same float32, or its matrices packed.

    A prompt can be ids, but answers are text: token 5 is `t5`.
    """
    from safetensors import safe_open

    config = json.loads((folder / "config.json").read_text())
    config = {**config, **config.get("text_config", {})}
    if random:
        from benchmarks.gemma4 import decoder_shapes

        write_tensors(config, drawn(decoder_shapes(config)), path, packed)
        return
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        write_tensors(config, stored(file), path, packed)


def write_tensors(config: dict[str, Any], tensors: Tensors, path: Path, packed: str | None) -> None:
    """Write what llama.cpp reads of a config, and the tensors by its names."""
    import gguf

    kind, layers = config["model_type"].removesuffix("_text"), config["num_hidden_layers"]
    writer = gguf.GGUFWriter(path, kind)
    _add_vocabulary(writer, config)
    writer.add_block_count(layers)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", 1e-6))
    (_add_gemma4 if kind == "gemma4" else _add_qwen3)(writer, config)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, kind.upper()), layers)
    renamed = {}
    for name, shape in tensors.shapes.items():
        plain = name.replace("language_model.", "").removesuffix(".weight")
        renamed[name] = names.get_name(plain)
        if renamed[name] is None:
            raise ValueError(f"GGUF has no name for {name}")
        described = _describe_tensor(shape, _type_of(renamed[name], packed))
        writer.add_tensor_info(f"{renamed[name]}.weight", *described)
    if kind == "gemma4":
        rope_factors = _rope_factors(config)
        writer.add_tensor_info(
            "rope_freqs.weight", rope_factors.shape, rope_factors.dtype, rope_factors.nbytes
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, shape in tensors.shapes.items():
        values, packing = tensors.read(name), _type_of(renamed[name], packed)
        if packing is not None and values.ndim == 2:
            values = gguf.quants.quantize(values, packing)
        writer.write_tensor_data(np.resize(values, (shape[0], *values.shape[1:])))
    if kind == "gemma4":
        writer.write_tensor_data(rope_factors)
    writer.close()


def _type_of(name: str, packed: str | None) -> Any:
    """Return what a matrix is packed as."""
    import gguf

    if packed is None:
        return None
    form = "q8_0" if name.endswith("token_embd") else packed
    return gguf.GGMLQuantizationType[form.upper()]


def _describe_tensor(shape: tuple[int, ...], packed: Any) -> tuple[Any, ...]:
    """Return a tensor's shape, dtype and size, and what it is packed as."""
    import gguf

    if packed is None or len(shape) != 2:
        return shape, np.dtype(np.float32), 4 * prod(shape)
    stored_shape = list(gguf.quant_shape_to_byte_shape(shape, packed))
    return stored_shape, np.dtype(np.uint8), prod(stored_shape), packed


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
    pairs = config["global_head_dim"] // 2
    factors = np.full(pairs, NO_ROTATION, np.float32)
    factors[: int(pairs * config["rope_parameters"]["full_attention"]["partial_rotary_factor"])] = 1
    return factors


def main() -> None:
    """Write the file that the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("packed", nargs="?", choices=["q4_0", "q8_0"])
    parser.add_argument(
        "--random", action="store_true", help="Gemma-4's shapes with random numbers"
    )
    options = parser.parse_args()
    write_gguf(options.folder, options.file, options.packed, options.random)


if __name__ == "__main__":
    main()
