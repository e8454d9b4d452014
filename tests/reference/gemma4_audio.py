"""Gemma-4 with its audio tower, of transformers and torch with random weights, as a bundle too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from composer.comparison.dump import Dump
from composer.comparison.reference_recorder import ReferenceRecorder
from tests.components import gemma4_models
from tests.reference.elderwise import SPECIAL, tokenizer

TOKENS, LAYERS, WIDTH, HEADS, ROWS = 24, 3, 48, 4, 40
AUDIO = {
    "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "output_proj_dims": ROWS, "subsampling_conv_channels": [128, 8],
}  # fmt: skip
MORE = ("<|channel>", "<channel|>", "<|image|>", "<|image>", "<image|>")
INSTRUCTION = "Write down what is line."


def draw(tower: Any) -> None:
    """Draw every number of an audio tower."""
    for name, value in [*tower.named_parameters(), *tower.named_buffers()]:
        if name.endswith(("input_min", "output_min")):
            value.fill_(-1.2 - 0.2 * torch.rand(()))
        elif name.endswith(("input_max", "output_max")):
            value.fill_(1.1 + 0.2 * torch.rand(()))
        elif "norm" in name:
            value.normal_(1.0, 0.2)
        elif value.ndim == 1 and name.endswith(("bias", "per_dim_scale")):
            value.normal_(0.0, 0.3)
        elif value.ndim > 1 and "rel_pos_enc" not in name:
            value.normal_(0.0, 1.4 / value[0].numel() ** 0.5)


class Gemma4Audio:
    """The whole model, whose bounds of clipped layers are met by its input."""

    make_tokenizer = staticmethod(tokenizer)

    def __init__(self, kind: str = "e2b") -> None:
        self.kind = kind
        self.tokenizer = self.make_tokenizer((*SPECIAL, *MORE))
        rows = self.tokenizer.get_vocab_size()
        text = gemma4_models.COMMON | gemma4_models.KINDS[kind]
        more = {"vocab_size": rows, "vocab_size_per_layer_input": rows}
        text |= more | {"max_position_embeddings": 1024}
        # Past the rows: transformers embeds padding in place of one that an answer has.
        image, video = rows, rows + 1
        config = transformers.Gemma4Config(
            text_config=text, audio_config=AUDIO, vision_config=None, eos_token_id=1,
            audio_token_id=SPECIAL.index("<|audio|>"), boa_token_id=SPECIAL.index("<|audio>"),
            eoa_token_id=SPECIAL.index("<audio|>"), image_token_id=image, video_token_id=video,
        )  # fmt: skip
        torch.manual_seed(21)
        self.model = transformers.Gemma4ForConditionalGeneration(config).eval()
        self.extractor = transformers.Gemma4AudioFeatureExtractor()
        with torch.no_grad():
            self.fill()

    def fill(self) -> None:
        """Draw every number anew, so that no norm is ones, no bias zeros and no bound infinite."""
        rows = self.tokenizer.get_vocab_size()
        more = {"vocab_size": rows, "vocab_size_per_layer_input": rows}
        plain = gemma4_models.torch_model(self.kind, **more)
        self.model.model.language_model.load_state_dict(plain.model.state_dict())
        self.model.tie_weights()
        draw(self.model.model.audio_tower)
        projection = self.model.model.embed_audio.embedding_projection.weight
        projection.normal_(0.0, 1.0 / ROWS**0.5)

    def state(self, *parts: str) -> dict[str, torch.Tensor]:
        """Return the tensors of some parts under transformers' names."""
        starts = tuple(f"model.{part}." for part in parts)
        named = self.model.state_dict().items()
        return {n: value.contiguous().clone() for n, value in named if n.startswith(starts)}

    def audio_config(self) -> dict[str, Any]:
        """Return the config of the tower."""
        found: dict[str, Any] = json.loads(self.model.config.audio_config.to_json_string())
        return found

    def write(self, folder: Path) -> Path:
        """Write transformers' own checkpoint, whole, as a source of the shipped manifests."""
        folder.mkdir(parents=True, exist_ok=True)
        state = self.state("language_model", "audio_tower", "embed_audio")
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        text = gemma4_models.config_of(self.model.model.language_model, self.kind)
        config = {"model_type": "gemma4", "text_config": text, "eos_token_id": 1}
        config["audio_config"] = self.audio_config()
        (folder / "config.json").write_text(json.dumps(config))
        self.tokenizer.save(str(folder / "tokenizer.json"))
        return folder

    def features(self, clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return transformers' log-mel [F', M] of a clip, padding included, and its mask."""
        made = self.extractor([clip])
        return made["input_features"][0], np.array(made["input_features_mask"][0])

    @torch.no_grad()
    def stages(self, clip: np.ndarray) -> dict[str, np.ndarray]:
        """Return what each stage of the tower gives, without the rows of padding."""
        mel, mask = self.features(clip)
        tower, found = self.model.model.audio_tower, {}
        modules = {"stem": tower.subsample_conv_projection}
        modules |= {f"layer {n}": each for n, each in enumerate(tower.layers)}
        hooks = [
            module.register_forward_hook(
                lambda _, __, out, name=name: found.update(
                    {name: out[0] if isinstance(out, tuple) else out}
                )
            )
            for name, module in modules.items()
        ]
        given = torch.tensor(mel)[None], torch.tensor(mask)[None]
        encoded = self.model.model.get_audio_features(*given)
        found["rows"] = encoded.pooler_output
        for hook in hooks:
            hook.remove()
        true = encoded.attention_mask[0]
        return {name: value[0][true].numpy() for name, value in found.items()}

    @torch.no_grad()
    def dump(self, clip: np.ndarray, audio: Any, instruction: str = INSTRUCTION) -> Dump:
        """Run the whole model on a clip and keep each stage under its name in the bundles."""
        kept = ReferenceRecorder(task="transcribe")
        kept.keep("audio", audio)
        kept.keep("instruction", instruction)
        mel, mask = self.features(clip)
        kept.keep("mel", mel[mask], "F M", along="M")
        rows = self.stages(clip)["rows"]
        kept.keep("soft", rows, "N D")
        ids = self.ids(len(rows), instruction)
        slots = ids == SPECIAL.index("<|audio|>")
        kept.keep("asked.ids", ids, "T")
        kept.keep("asked.slots", slots, "T")
        model, language = self.model, self.model.model.language_model
        kept.keep("text_ids", np.where(slots, 0, ids), "T")
        inner: dict[str, Any] = {}
        hook = language.register_forward_pre_hook(
            lambda _, __, given: inner.update(given), with_kwargs=True
        )
        given = {
            "input_ids": torch.tensor(ids)[None],
            "input_features": torch.tensor(mel)[None],
            "input_features_mask": torch.tensor(mask)[None],
            "attention_mask": torch.ones(1, len(ids), dtype=torch.int64),
            "mm_token_type_ids": torch.tensor(slots.astype(np.int64) * 3)[None],
        }
        model(**given)
        hook.remove()
        kept.keep("embeds", inner["inputs_embeds"], "T D")
        kept.keep("per_layer", inner["per_layer_inputs"], "T L P")
        more = {"max_new_tokens": TOKENS, "eos_token_id": 1, "pad_token_id": 0}
        answer = kept.generate(model, given, **more)
        kept.keep("answer.text", self.tokenizer.decode(answer))
        return kept.dump()

    def ids(self, rows: int, instruction: str = INSTRUCTION) -> np.ndarray:
        """Tokenize the prompt, its placeholders as many as transformers' processor counts."""
        text = f"<bos><|turn>user\n{instruction}<|audio>{'<|audio|>' * rows}<audio|><turn|>\n"
        return np.array(self.tokenizer.encode(f"{text}<|turn>model\n").ids)
