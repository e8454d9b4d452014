"""Gemma-3 with SigLIP, of transformers with tiny random weights, in its published layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from tests.reference.elderwise import tokenizer

FULL, SLIDING = "full_attention", "sliding_attention"
SPECIAL = (
    "<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>",
    "<image_soft_token>", "<end_of_image>",
)  # fmt: skip
IMAGE, PATCH, ROWS = 56, 14, 4  # 16 patches, of which 2 x 2 become one row
VISION = {
    "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4,
    "image_size": IMAGE, "patch_size": PATCH, "vision_use_head": False,
}  # fmt: skip
TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 1024,
    "query_pre_attn_scalar": 24, "sliding_window": 11, "layer_types": [SLIDING, FULL] * 2,
    "initializer_range": 0.15, "rope_parameters": {
        FULL: {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        SLIDING: {"rope_type": "default", "rope_theta": 1e4},
    },
}  # fmt: skip
COUNT = 16


class Gemma3:
    """The whole model; `rows` is how many rows a picture becomes."""

    def __init__(self, rows: int = ROWS, **vision: Any) -> None:
        self.tokenizer = tokenizer(SPECIAL)
        size = self.tokenizer.get_vocab_size()
        config = transformers.Gemma3Config(
            text_config=TEXT | {"vocab_size": size}, vision_config=VISION | vision,
            mm_tokens_per_image=rows, eos_token_id=[1, self.id("<end_of_turn>")],
            image_token_id=self.id("<image_soft_token>"),
        )  # fmt: skip
        config._attn_implementation = "eager"
        torch.manual_seed(3)
        self.model = transformers.Gemma3ForConditionalGeneration(config).eval()
        with torch.no_grad():
            for name, value in self.model.named_parameters():
                if "norm" in name and value.ndim == 1 and "vision_tower" not in name:
                    value.normal_(0.0, 0.2)  # 1 is added to it
                elif value.ndim == 1:
                    value.add_(torch.randn(value.shape) * 0.2)
                elif "language_model" not in name:
                    value.normal_(0.0, 1.2 / value[0].numel() ** 0.5)
            # Or each token would be followed by itself.
            self.model.model.language_model.embed_tokens.weight.normal_(0.0, 0.03)
            self.model.model.language_model.norm.weight.add_(5.0)
        self.scale = TEXT["hidden_size"] ** 0.5

    def id(self, token: str) -> int:
        """Return the id of a special token."""
        found: int = self.tokenizer.token_to_id(token)
        return found

    def write(self, folder: Path, **changes: Any) -> Path:
        """Write the names and the keys that Google's repositories have."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {}
        for name, value in self.model.state_dict().items():
            if name == "lm_head.weight":
                continue
            name = name.removeprefix("model.").replace("language_model.", "language_model.model.")
            if name.startswith("vision_tower."):
                name = name.replace("vision_tower.", "vision_tower.vision_model.", 1)
            state[name] = value.contiguous().clone()
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        text = {k: v for k, v in TEXT.items() if k not in ("rope_parameters", "layer_types")}
        text |= {
            "model_type": "gemma3_text", "rope_theta": 1e6, "rope_local_base_freq": 1e4,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "sliding_window_pattern": 2,
            "vocab_size": self.tokenizer.get_vocab_size(),
        }  # fmt: skip
        vision = {key: value for key, value in self.model.config.vision_config.to_dict().items()
                  if key in VISION} | {"model_type": "siglip_vision_model"}  # fmt: skip
        config = {
            "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
            "mm_tokens_per_image": self.model.config.mm_tokens_per_image,
            "boi_token_index": self.id("<start_of_image>"),
            "eoi_token_index": self.id("<end_of_image>"),
            "image_token_index": self.id("<image_soft_token>"),
            "eos_token_id": [1, self.id("<end_of_turn>")],
            "text_config": text, "vision_config": vision,
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config | changes))
        self.tokenizer.save(str(folder / "tokenizer.json"))
        return folder

    @torch.no_grad()
    def stages(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Return what each stage of the tower and of what is behind it gives for pixels."""
        inner = self.model.model
        tower, projector, found = inner.vision_tower, inner.multi_modal_projector, {}
        modules = {"embedded": tower.embeddings, "normed": tower.post_layernorm}
        modules |= {f"layer {n}": each for n, each in enumerate(tower.encoder.layers)}
        modules["pooled"] = projector.avg_pool

        def keep(name: str) -> Any:
            def hook(_: Any, __: Any, out: Any) -> None:
                found[name] = (out[0] if isinstance(out, tuple) else out)[0].numpy()

            return hook

        hooks = [each.register_forward_hook(keep(name)) for name, each in modules.items()]
        made = inner.get_image_features(torch.tensor(pixels)[None]).pooler_output[0].numpy()
        for hook in hooks:
            hook.remove()
        found["pooled"] = found["pooled"].reshape(len(found["pooled"]), -1).T.copy()
        return found | {"rows": made}

    @torch.no_grad()
    def logits(self, embeds: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """Return the logits after unscaled rows, of which those of kind 1 are pictures'."""
        given = torch.tensor(embeds * np.float32(self.scale))[None]
        kinds = torch.tensor(kinds.astype(np.int64))[None]
        return self.model(inputs_embeds=given, token_type_ids=kinds).logits[0].numpy()

    @torch.no_grad()
    def masked_logits(self, embeds: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Return the logits where each row sees the rows of bool [T, T], in a window the near."""
        places = np.arange(len(embeds))
        near = places > places[:, None] - TEXT["sliding_window"]
        masks = {FULL: seen, SLIDING: seen & near}
        found = {}
        for kind, mask in masks.items():
            hidden = torch.finfo(torch.float32).min
            found[kind] = torch.where(torch.tensor(mask), 0.0, hidden)[None, None]
        given = torch.tensor(embeds * np.float32(self.scale))[None]
        return self.model(inputs_embeds=given, attention_mask=found).logits[0].numpy()

    def greedy(self, embeds: np.ndarray, kinds: np.ndarray, count: int = COUNT) -> list[int]:
        """Return the ids that follow, each computed from the whole."""
        table = self.model.model.language_model.embed_tokens.weight.detach().numpy()
        ids: list[int] = []
        for _ in range(count):
            ids.append(int(self.logits(embeds, kinds)[-1].argmax()))
            embeds, kinds = np.append(embeds, table[ids[-1:]], 0), np.append(kinds, 0)
        return ids
