"""Mega-ASR's adapter in the layout of its release, and what it adds to weights, in float64."""

import json

import numpy as np
from safetensors.numpy import save_file

BLOCKS = "mega_lora_blocks.json"
RANK = 6


def make_lora(state, square=False):
    """Return tensors, config and blocks of an adapter on a checkpoint with the release's names.

    Every Linear of both parts is adapted, those of the decoder under both spellings, every other
    one in blocks.
    """
    random, tensors, blocks, alphas = np.random.default_rng(0), {}, {}, {}
    for name, value in sorted(state.items()):
        if not adapted(name, value) or (square and value.shape[0] != value.shape[1]):
            continue
        module = name.removesuffix(".weight")
        for raw in dict.fromkeys(
            [module, module.replace("thinker.model.layers", "thinker.layers")]
        ):
            outputs, inputs = value.shape
            at = f"base_model.model.{raw}.lora_"
            tensors[f"{at}A.weight"] = random.normal(0, 0.3, (RANK, inputs)).astype(np.float32)
            tensors[f"{at}B.weight"] = random.normal(0, 0.1, (outputs, RANK)).astype(np.float32)
            alphas[raw] = 3 + len(alphas) % 5
            if len(alphas) % 2:
                blocks[raw] = [
                    {"start": 0, "end": 2, "rank": 2, "alpha": 5},
                    {"start": 2, "end": 5, "rank": 4, "alpha": 2},
                    {"start": 5, "end": RANK},
                ]
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 24, "lora_alpha": 24,
        "lora_dropout": 0.0, "fan_in_fan_out": False, "bias": "none", "inference_mode": True,
        "target_modules": ".*", "rank_pattern": dict.fromkeys(alphas, RANK),
        "alpha_pattern": alphas,
    }  # fmt: skip
    return tensors, config, blocks


def adapted(name, value):
    inside = ".layers." in name or name.split(".")[-2] in ("conv_out", "proj1", "proj2")
    return inside and value.ndim == 2 and name.endswith("weight") and "norm" not in name


def save_lora(tensors, config, blocks, folder):
    folder.mkdir(exist_ok=True, parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / BLOCKS).write_text(json.dumps(blocks))
    if not blocks:
        (folder / BLOCKS).unlink()
    return folder


def adapt(state, tensors, config, blocks):
    """Return a checkpoint with all updates added."""
    made = {name: value.astype(np.float64) for name, value in state.items()}
    for name, a in tensors.items():
        if not name.endswith("lora_A.weight"):
            continue
        raw = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        b = tensors[name.replace("lora_A", "lora_B")].astype(np.float64)
        a = a.astype(np.float64)
        scale = config["alpha_pattern"].get(raw, config["lora_alpha"])
        update = b @ a * (scale / config["rank_pattern"].get(raw, config["r"]))
        if raw in blocks:
            update = 0.0
            for block in blocks[raw]:
                start, end = block["start"], block["end"]
                rank = block.get("rank", end - start)
                scale = block.get("alpha", rank) / rank
                update = update + scale * (b[:, start:end] @ a[start:end])
        if config["fan_in_fan_out"]:
            update = update.T
        target = raw.replace("thinker.layers.", "thinker.model.layers.", 1)
        made[f"{target}.weight"] += update
    return {name: value.astype(np.float32) for name, value in made.items()}
