"""A small Qwen3-ForcedAligner of transformers with random weights, in the layout of the release."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken

from tests.reference.qwen3_asr import AUDIO, RATE, TEXT, draw_parameters, make_tokenizer
from tests.reference.test_qwen3_asr_released import released_name

MARK = "<timestamp>"
CLASSES = 50
MILLISECONDS = 80


@dataclass(frozen=True)
class Stages:
    """What transformers computes for one clip and text, without a batch axis."""

    rows: np.ndarray  # [N, D]
    ids: np.ndarray  # [T]
    hidden: np.ndarray  # [T, D], after the last norm
    logits: np.ndarray  # [T, C]
    units: list[str]
    words: list[dict[str, Any]]


class Aligner:
    """transformers' own processor and model, asked for one clip at a time."""

    def __init__(self) -> None:
        self.tokenizer = make_tokenizer()
        self.tokenizer.add_tokens([AddedToken(MARK, special=False, normalized=False)])
        extractor = transformers.Qwen3ASRFeatureExtractor()
        self.processor = transformers.Qwen3ASRProcessor(extractor, self.tokenizer)
        self.model = make_model(self.tokenizer)
        self.mark = self.tokenizer.convert_tokens_to_ids(MARK)

    @torch.no_grad()
    def stages(self, clip: np.ndarray, text: str, language: str | None = None) -> Stages:
        """Run the model on a clip and a text, and keep every stage."""
        units = self.processor.split_words_for_alignment(text, language)
        prompt = "<|audio_start|><|audio_pad|><|audio_end|>"
        prompt += "".join(unit + MARK + MARK for unit in units)
        inputs = self.processor(text=prompt, audio=clip, sampling_rate=RATE)
        taken: list[torch.Tensor] = []
        hook = self.model.score.register_forward_pre_hook(lambda _, args: taken.append(args[0]))
        logits = self.model(**inputs).logits
        hook.remove()
        rows = self.model.model.get_audio_features(
            inputs["input_features"], inputs["input_features_mask"]
        ).pooler_output
        words = self.processor.decode_forced_alignment(
            logits, inputs["input_ids"], [units], self.mark, MILLISECONDS
        )
        return Stages(
            rows.numpy(),
            inputs["input_ids"][0].numpy(),
            taken[0][0].numpy(),
            logits[0].numpy(),
            units,
            words[0],
        )


def make_model(tokenizer: Any) -> Any:
    """Make a float32 model whose parts all matter, with a head of CLASSES classes."""
    torch.manual_seed(12)
    config = transformers.Qwen3ASRConfig(
        audio_config=AUDIO,
        text_config={**TEXT, "tie_word_embeddings": False},
        audio_token_id=tokenizer.convert_tokens_to_ids("<|audio_pad|>"),
        timestamp_token_id=tokenizer.convert_tokens_to_ids(MARK),
        num_labels=CLASSES,
        attn_implementation="sdpa",
    )
    model = transformers.Qwen3ASRForTokenClassification(config).eval()
    return draw_parameters(model)


def release(folder: Path, aligner: Aligner) -> Path:
    """Write the model under the names of the release, with the config that it has."""
    folder.mkdir(parents=True, exist_ok=True)
    aligner.tokenizer.save_pretrained(folder)
    state = {}
    for name, value in aligner.model.state_dict().items():
        name = "thinker.lm_head.weight" if name == "score.weight" else released_name(name)
        state[name] = value.contiguous()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    audio = {**AUDIO, "model_type": "qwen3_asr_audio_encoder", "conv_chunksize": 500}
    scaling = {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"}
    text = {**TEXT, "tie_word_embeddings": False, "rope_scaling": scaling, "model_type": "qwen3"}
    config = {
        "architectures": ["Qwen3ASRForConditionalGeneration"],
        "model_type": "qwen3_asr",
        "support_languages": ["Chinese", "English"],
        "thinker_config": {
            "model_type": "qwen3_forced_aligner",
            "audio_config": audio,
            "text_config": text,
            "classify_num": CLASSES,
            "dtype": "float32",
        },
        "timestamp_segment_time": MILLISECONDS,
        "timestamp_token_id": aligner.mark,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder
