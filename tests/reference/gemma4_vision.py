"""Gemma-4 with its vision tower, of transformers and torch with random weights, as a bundle too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.models.gemma4 import image_processing_pil_gemma4 as processing

from tests.components import gemma4_models
from tests.reference import gemma4_audio
from tests.reference.elderwise import SPECIAL, tokenizer

LAYERS, WIDTH, HEADS, HEAD, PATCH, POSITIONS = 3, 48, 3, 16, 4, 96
CLIPPED = {"use_clipped_linears": True, "standardize": False}
STANDARDIZED = {"use_clipped_linears": False, "standardize": True}
TOWERS = {"e2b": CLIPPED, "e4b": CLIPPED, "26b": STANDARDIZED, "31b": STANDARDIZED}
VISION = {
    "hidden_size": WIDTH, "intermediate_size": 80, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "head_dim": HEAD,
    "patch_size": PATCH, "position_embedding_size": POSITIONS,
}  # fmt: skip
TOKENS = 24
BUDGET = 70


class Gemma4Vision:
    """The whole model, whose bounds of clipped layers are met by its input."""

    make_tokenizer = staticmethod(tokenizer)

    def __init__(self, kind: str = "e2b", audio: bool = False, **changes: Any) -> None:
        self.kind = kind
        audio_config = gemma4_audio.AUDIO if audio else None
        self.tokenizer = self.make_tokenizer((*SPECIAL, *gemma4_audio.MORE))
        rows = self.tokenizer.get_vocab_size()
        self.words = {"vocab_size": rows, "vocab_size_per_layer_input": rows}
        text = gemma4_models.COMMON | gemma4_models.KINDS[kind] | self.words
        config = transformers.Gemma4Config(
            text_config=text | {"max_position_embeddings": 2048}, audio_config=audio_config,
            vision_config=VISION | TOWERS[kind] | changes, eos_token_id=1, video_token_id=rows,
            audio_token_id=self.id("<|audio|>"), boa_token_id=self.id("<|audio>"),
            eoa_token_id=self.id("<audio|>"), image_token_id=self.id("<|image|>"),
        )  # fmt: skip
        torch.manual_seed(22)
        self.model = transformers.Gemma4ForConditionalGeneration(config).eval()
        self.processor = processing.Gemma4ImageProcessorPil(
            patch_size=PATCH, max_soft_tokens=BUDGET
        )
        with torch.no_grad():
            self.fill()

    def id(self, token: str) -> int:
        """Return the id of a special token."""
        found: int = self.tokenizer.token_to_id(token)
        return found

    def fill(self) -> None:
        """Draw every number anew, so that no norm is ones and no bound infinite."""
        plain = gemma4_models.torch_model(self.kind, **self.words)
        self.model.model.language_model.load_state_dict(plain.model.state_dict())
        # No answer has a placeholder, which transformers would embed as padding.
        for token in ("<|image|>", "<|audio|>"):
            self.model.model.language_model.embed_tokens.weight[self.id(token)] = 0
        self.model.tie_weights()
        tower = self.model.model.vision_tower
        for name, value in [*tower.named_parameters(), *tower.named_buffers()]:
            if name.endswith(("input_min", "output_min")):
                value.fill_(-1.2 - 0.2 * torch.rand(()))
            elif name.endswith(("input_max", "output_max")):
                value.fill_(1.1 + 0.2 * torch.rand(()))
            elif "norm" in name or name.endswith("std_scale"):
                value.normal_(1.0, 0.2)
            elif name.endswith("std_bias"):
                value.normal_(0.0, 2.0)
            elif name.endswith("table"):
                value.normal_(0.0, 0.5)
            elif value.ndim > 1:
                value.normal_(0.0, 1.4 / value[0].numel() ** 0.5)
        projections = [self.model.model.embed_vision.embedding_projection.weight]
        if self.model.model.audio_tower is not None:
            gemma4_audio.draw(self.model.model.audio_tower)
            projections.append(self.model.model.embed_audio.embedding_projection.weight)
        for weight in projections:
            weight.normal_(0.0, 1.0 / weight.shape[1] ** 0.5)

    def state(self, *parts: str) -> dict[str, torch.Tensor]:
        """Return the tensors of some parts under transformers' names."""
        starts = tuple(f"model.{part}." for part in parts)
        named = self.model.state_dict().items()
        return {n: value.contiguous().clone() for n, value in named if n.startswith(starts)}

    def towers(self) -> dict[str, torch.Tensor]:
        """Return the tensors of the towers, and of what maps their rows to the decoder's."""
        return self.state("vision_tower", "embed_vision", "audio_tower", "embed_audio")

    def tower_configs(self) -> dict[str, Any]:
        """Return the configs of the towers by their keys."""
        found = {}
        for key in ("vision_config", "audio_config"):
            config = getattr(self.model.config, key)
            if config is not None:
                found[key] = json.loads(config.to_json_string())
        return found

    def write(self, folder: Path) -> Path:
        """Write transformers' own checkpoint, whole, as a source of the shipped manifests."""
        folder.mkdir(parents=True, exist_ok=True)
        state = self.state("language_model") | self.towers()
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        text = gemma4_models.config_of(self.model.model.language_model, self.kind)
        config = {"model_type": "gemma4", "text_config": text, "eos_token_id": 1}
        (folder / "config.json").write_text(json.dumps(config | self.tower_configs()))
        self.tokenizer.save(str(folder / "tokenizer.json"))
        return folder

    def features(self, pixels: np.ndarray) -> dict[str, torch.Tensor]:
        """Return transformers' patches and their positions, padded to the budget."""
        made: dict[str, torch.Tensor] = self.processor(Image.fromarray(pixels), return_tensors="pt")
        return made

    @torch.no_grad()
    def stages(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Return what each stage of the tower gives, without padding, patches in their order."""
        given = self.features(pixels)
        positions = given["image_position_ids"]
        true = (positions >= 0).all(-1)[0]
        tower, found = self.model.model.vision_tower, {}
        modules = {"embedded": tower.patch_embedder}
        modules |= {f"layer {n}": each for n, each in enumerate(tower.encoder.layers)}

        def keep(name: str) -> Any:
            return lambda _, __, out: found.update({name: out[0][true].numpy()})

        hooks = [each.register_forward_hook(keep(name)) for name, each in modules.items()]
        encoded = self.model.model.get_image_features(given["pixel_values"], positions)
        for hook in hooks:
            hook.remove()
        found["pooled"] = encoded.last_hidden_state.numpy()
        (rows,) = encoded.pooler_output
        return found | {"rows": rows.numpy()}

    def prompt(self, pictures: list[np.ndarray], question: str) -> np.ndarray:
        """Return the ids of a prompt, as many placeholders as each picture has rows."""
        text = "<bos><|turn>user\n"
        for each in pictures:
            count = int(self.features(each)["num_soft_tokens_per_image"][0])
            text += f"\n\n<|image>{'<|image|>' * count}<image|>\n\n"
        text += f"{question}<turn|>\n<|turn>model\n"
        return np.array(self.tokenizer.encode(text).ids)

    @torch.no_grad()
    def answer(
        self, ids: np.ndarray, pictures: list[np.ndarray], clip: np.ndarray | None = None
    ) -> tuple[dict[str, np.ndarray], list[int]]:
        """Run the whole model on a prompt's ids, pictures in their order and a clip.

        Return the inputs of its decoder with the logits after each row, and the ids of its answer.
        """
        given = {"input_ids": torch.tensor(ids)[None]}
        kinds = np.zeros(len(ids), np.int64)
        kinds[ids == self.id("<|image|>")] = 1
        kinds[ids == self.id("<|audio|>")] = 3
        given["mm_token_type_ids"] = torch.tensor(kinds)[None]
        given["attention_mask"] = torch.ones(1, len(ids), dtype=torch.int64)
        if pictures:
            made = [self.features(each) for each in pictures]
            for name in ("pixel_values", "image_position_ids"):
                given[name] = torch.cat([each[name] for each in made])
        if clip is not None:
            features = transformers.Gemma4AudioFeatureExtractor()([clip])
            given["input_features"] = torch.tensor(np.array(features["input_features"]))
            given["input_features_mask"] = torch.tensor(np.array(features["input_features_mask"]))
        inner: dict[str, Any] = {}
        hook = self.model.model.language_model.register_forward_pre_hook(
            lambda _, __, given: inner.update(given), with_kwargs=True
        )
        logits = self.model(**given).logits
        hook.remove()
        inputs = {"embeds": inner["inputs_embeds"][0].numpy(), "logits": logits[0].numpy()}
        if inner.get("per_layer_inputs") is not None:
            inputs["per_layer"] = inner["per_layer_inputs"][0].numpy()
        more = {"max_new_tokens": TOKENS, "eos_token_id": 1, "pad_token_id": 0}
        found = self.model.generate(**given, do_sample=False, **more)
        return inputs, found[0, len(ids) :].tolist()


def add_tower(folder: Path, kind: str) -> None:
    """Add a vision tower of patches of 16 pixels to a checkpoint, as the shipped manifests have."""
    made = Gemma4Vision(kind, patch_size=16)
    file = folder / "model.safetensors"
    save_file(load_file(file) | made.towers(), file, metadata={"format": "pt"})
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | made.tower_configs()))
