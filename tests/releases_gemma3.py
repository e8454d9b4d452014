"""Folders with the names and real shapes of google/gemma-3-4b-it and its conversions for MLX.

The weights are holes in files.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.replica import safetensors, tokenizer

HIDDEN, INTER, LAYERS, QUERIES, KEYS, HEAD, ROWS = 2560, 10240, 34, 2048, 1024, 256, 262208
WIDTH, INNER, DEPTH, PATCHES = 1152, 4304, 27, 4096
SPECIAL = (
    "<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>",
    "<image_soft_token>", "<end_of_image>",
)  # fmt: skip
NORMS = ("input", "post_attention", "pre_feedforward", "post_feedforward")
TEXT = {
    "hidden_size": HIDDEN, "intermediate_size": INTER, "model_type": "gemma3_text",
    "num_hidden_layers": LAYERS, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "sliding_window": 1024,
}  # fmt: skip
VISION = {
    "hidden_size": WIDTH, "image_size": 896, "intermediate_size": INNER,
    "model_type": "siglip_vision_model", "num_attention_heads": 16, "num_hidden_layers": DEPTH,
    "patch_size": 14, "vision_use_head": False,
}  # fmt: skip


def gemma3(folder: Path, bits: int | None, tower: bool) -> Path:
    """Write bf16, or linears and embeddings of so many bits, those of the tower too if asked."""
    folder.mkdir()
    matrices, others = decoder()
    own, more = vision()
    others |= more
    if tower:
        matrices |= own
    else:
        others |= {f"{name}.weight": shape for name, shape in own.items()}
    found = {name: ("BF16", shape) for name, shape in others.items()}
    for name, (rows, columns) in matrices.items():
        if bits is None or columns % 64:
            found[f"{name}.weight"] = ("BF16", (rows, columns))
            continue
        found[f"{name}.weight"] = ("U32", (rows, columns * bits // 32))
        for part in ("scales", "biases"):
            found[f"{name}.{part}"] = ("BF16", (rows, columns // 64))
    if bits:  # MLX's order of a convolution
        found["vision_tower.vision_model.embeddings.patch_embedding.weight"] = (
            "BF16", (WIDTH, 14, 14, 3),
        )  # fmt: skip
    safetensors(folder / "model.safetensors", found)
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 5,
        "eoi_token_index": 7, "eos_token_id": [1, 4], "image_token_index": 6,
        "initializer_range": 0.02, "mm_tokens_per_image": 256, "model_type": "gemma3",
        "text_config": TEXT, "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0",
        "vision_config": VISION,
    }  # fmt: skip
    if bits:
        config["quantization"] = {"group_size": 64, "bits": bits}
        config["vision_config"] = VISION | {"skip_vision": not tower}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer(folder, SPECIAL)
    return folder


def decoder() -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, ...]]]:
    """Return the shapes of matrices by their modules, and of other tensors."""
    at = "language_model.model."
    matrices = {f"{at}embed_tokens": (ROWS, HIDDEN)}
    others: dict[str, tuple[int, ...]] = {f"{at}norm.weight": (HIDDEN,)}
    for number in range(LAYERS):
        layer = f"{at}layers.{number}."
        for name, rows in (("q", QUERIES), ("k", KEYS), ("v", KEYS)):
            matrices[f"{layer}self_attn.{name}_proj"] = (rows, HIDDEN)
        matrices[f"{layer}self_attn.o_proj"] = (HIDDEN, QUERIES)
        matrices[f"{layer}mlp.gate_proj"] = matrices[f"{layer}mlp.up_proj"] = (INTER, HIDDEN)
        matrices[f"{layer}mlp.down_proj"] = (HIDDEN, INTER)
        others |= {f"{layer}self_attn.{name}_norm.weight": (HEAD,) for name in "qk"}
        others |= {f"{layer}{name}_layernorm.weight": (HIDDEN,) for name in NORMS}
    return matrices, others


def vision() -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, ...]]]:
    """Return the same of the tower and of what is behind it."""
    at = "vision_tower.vision_model."
    matrices = {f"{at}embeddings.position_embedding": (PATCHES, WIDTH)}
    others: dict[str, tuple[int, ...]] = {
        f"{at}embeddings.patch_embedding.weight": (WIDTH, 3, 14, 14),
        f"{at}embeddings.patch_embedding.bias": (WIDTH,),
        "multi_modal_projector.mm_input_projection_weight": (WIDTH, HIDDEN),
        "multi_modal_projector.mm_soft_emb_norm.weight": (WIDTH,),
    }
    for part in ("weight", "bias"):
        others[f"{at}post_layernorm.{part}"] = (WIDTH,)
    for number in range(DEPTH):
        layer = f"{at}encoder.layers.{number}."
        for name in "qkv":
            matrices[f"{layer}self_attn.{name}_proj"] = (WIDTH, WIDTH)
        matrices[f"{layer}self_attn.out_proj"] = (WIDTH, WIDTH)
        matrices[f"{layer}mlp.fc1"], matrices[f"{layer}mlp.fc2"] = (INNER, WIDTH), (WIDTH, INNER)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            others[f"{layer}self_attn.{name}.bias"] = (WIDTH,)
        others |= {f"{layer}mlp.fc1.bias": (INNER,), f"{layer}mlp.fc2.bias": (WIDTH,)}
        for name in ("layer_norm1", "layer_norm2"):
            others |= {f"{layer}{name}.{part}": (WIDTH,) for part in ("weight", "bias")}
    return matrices, others
