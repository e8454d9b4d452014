"""A small Qwen3-ASR of transformers with random weights, and the same weights as a bundle."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from composer import read_audio
from composer.comparison.dump import Dump
from composer.comparison.reference_recorder import ReferenceRecorder
from converters.audio_encoder import AudioEncoder, sinusoids
from converters.onnx_encoder import load_encoder
from converters.qwen3_asr import Mix, convert, convert_decoder

RATE = 16_000
TOKENS = 24
GAIN = 1.5  # a matrix of this over sqrt(inputs) lets small differences show
SHARP = 1.0  # added to the norms of queries and keys, so that attention picks few rows
LEARNT = 320  # ids that BPE learns; the special tokens follow

AUDIO = {
    "num_mel_bins": 128,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 96,
    "d_model": 64,
    "output_dim": 128,
    "n_window": 50,
    "n_window_infer": 800,
    "downsample_hidden_size": 16,
}
TEXT = {
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 384,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "rope_theta": 1e6,
}

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|audio_start|>",
    "<|audio_end|>",
    "<|audio_pad|>",
)
CORPUS = (
    "system user assistant language English language Chinese language German",
    "the names of the speakers are in the context, and what they say is in the audio",
)
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)  # Qwen2's

BUNDLE = Path(__file__).with_name("bundle.yaml")


@dataclass(frozen=True)
class Stages:
    """What transformers computes for one clip, stage by stage, without a batch axis."""

    features: np.ndarray  # [128, frames], padded with 0.0 to whole seconds
    frames: int
    rows: np.ndarray  # [N, D]
    ids: np.ndarray  # [T]
    embeds: np.ndarray  # [T, D], the rows in their places
    logits: np.ndarray  # [T, V]
    answer: list[int]


class Reference:
    """transformers' own processor and model, asked for one clip at a time."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        extractor = transformers.Qwen3ASRFeatureExtractor()
        self.processor = transformers.Qwen3ASRProcessor(extractor, tokenizer)
        self.model = model

    def inputs(self, clip: np.ndarray, language: str = "", context: str = "") -> Any:
        """Return what the processor makes of a clip and a prompt."""
        forced = f"language {language}<asr_text>" if language else ""
        text = (
            f"<|im_start|>system\n{context}<|im_end|>\n<|im_start|>user\n<|audio_start|>"
            f"<|audio_pad|><|audio_end|><|im_end|>\n<|im_start|>assistant\n{forced}"
        )
        return self.processor(text=text, audio=clip, sampling_rate=RATE)

    def stages(self, clip: np.ndarray, language: str = "", context: str = "") -> Stages:
        """Run the model on a clip and keep every stage."""
        inputs = self.inputs(clip, language, context)
        taken: list[torch.Tensor] = []
        hook = self.model.model.language_model.register_forward_pre_hook(
            lambda _, args, kwargs: taken.append(kwargs["inputs_embeds"]), with_kwargs=True
        )
        with torch.no_grad():
            logits = self.model(**inputs).logits
            hook.remove()
            features, mask = inputs["input_features"], inputs["input_features_mask"]
            rows = self.model.get_audio_features(features, mask).pooler_output
            out = self.model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        size = inputs["input_ids"].shape[1]
        return Stages(
            features[0].numpy(),
            int(mask.sum()),
            rows.numpy(),
            inputs["input_ids"][0].numpy(),
            taken[0][0].numpy(),
            logits[0].numpy(),
            out[0, size:].tolist(),
        )

    @torch.no_grad()
    def dump(self, clip: np.ndarray, language: str = "") -> Dump:
        """Keep every stage of a clip under the names of the bundle's task `transcribe`."""
        found, kept = self.stages(clip, language), ReferenceRecorder(task="transcribe")
        kept.keep("audio", read_audio((clip, RATE)))
        kept.keep("language", language)
        kept.keep("context", "")
        kept.keep("mel", found.features[:, : found.frames], "M F", along="M")
        kept.keep("soft", found.rows, "n_rows d128")  # as the ONNX file names them
        slots = found.ids == self.model.config.audio_token_id
        kept.keep("asked.ids", found.ids, "T")
        kept.keep("asked.slots", slots, "T")
        words = self.model.get_input_embeddings()(torch.tensor(found.ids)).numpy()
        kept.keep("words", words, "T D")
        kept.keep("embeds", found.embeds, "T D")
        ends = self.model.config.eos_token_id
        answer = [token for token in found.answer if token not in ends]
        kept.keep("answer.ids", np.array(answer), "N")
        kept.keep("answer.text", self.processor.tokenizer.decode(answer, skip_special_tokens=True))
        # By embeddings, since a random model may say the placeholder itself.
        more = self.model.get_input_embeddings()(torch.tensor(answer))
        embeds = torch.cat([torch.tensor(found.embeds), more])[None]
        logits = self.model(inputs_embeds=embeds).logits[0]
        kept.keep("answer_steps", logits[len(found.ids) - 1 : -1], "N V")
        return kept.dump()


def make_tokenizer() -> Any:
    """Make a byte-level BPE tokenizer with the special tokens of Qwen3-ASR."""
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LEARNT,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(CORPUS * 4, trainer)
    made.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    made.add_tokens([AddedToken("<asr_text>", special=False, normalized=False)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens={
            "audio_token": "<|audio_pad|>",
            "audio_bos_token": "<|audio_start|>",
            "audio_eos_token": "<|audio_end|>",
        },
    )


def make_model(tokenizer: Any) -> Any:
    """Make a float32 model whose parts all matter.

    Biases and norms are drawn too, or they would hide mistakes; matrices are drawn wide, or every
    answer would be one token over and over.
    """
    torch.manual_seed(11)
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    config = transformers.Qwen3ASRConfig(
        audio_config=AUDIO,
        text_config=TEXT,
        audio_token_id=tokenizer.convert_tokens_to_ids("<|audio_pad|>"),
        pad_token_id=ends[0],
        eos_token_id=ends,
        attn_implementation="sdpa",
    )
    model = transformers.Qwen3ASRForConditionalGeneration(config).eval()
    return draw_parameters(model)


class NoRestart(AudioEncoder):
    """An encoder as one might write it by mistake: positions run on from chunk to chunk."""

    def stem(self, features: torch.Tensor) -> torch.Tensor:
        x = super().stem(features)
        run_on = sinusoids(x.shape[1], self.config.d_model)
        chunks = x.shape[1] // self.config.chunk_rows
        return x + run_on - self.positions.repeat(chunks, 1)


def encode(
    state: Any, mel: np.ndarray, frames: int, cls: type[AudioEncoder] = AudioEncoder, **sizes: int
) -> np.ndarray:
    """Encode the first frames of log-mel `[128, n]`, by other sizes or by another class."""
    encoder = load_encoder(state, {**AUDIO, **sizes})
    encoder.__class__ = cls
    with torch.no_grad():
        rows = encoder(torch.from_numpy(mel)[None], torch.tensor([frames]))[0]
    found: np.ndarray = rows[: encoder.config.rows(frames)].numpy()
    return found


def make_bundle(folder: Path) -> Reference:
    """Write the model as a bundle into a folder and return it."""
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    model.save_pretrained(folder / "checkpoint")
    tokenizer.save_pretrained(folder / "checkpoint")
    out = convert(folder / "checkpoint", folder / "converted", "float32")
    ends = tuple(model.config.eos_token_id)
    convert_decoder(model.state_dict(), TEXT, out / "mlx/llm-mixed8_4", Mix(8, 4, 64), ends)
    shutil.copy(BUNDLE, folder / "bundle.yaml")
    return Reference(tokenizer, model)


def exact_log_mel(clip: np.ndarray, keep_last: bool = False) -> np.ndarray:
    """Compute transformers' formula in float64, whose own float32 STFT rounds what is faint."""
    extractor = transformers.Qwen3ASRFeatureExtractor()
    wave, window = torch.from_numpy(clip).double(), torch.hann_window(400, dtype=torch.float64)
    wave = torch.nn.functional.pad(wave, (0, max(0, 8000 - len(wave))))
    power = torch.stft(wave, 400, 160, window=window, return_complex=True).abs() ** 2
    power = power if keep_last else power[:, :-1]
    log = (torch.from_numpy(extractor.mel_filters).T @ power).clamp(min=1e-10).log10()
    made: np.ndarray = ((torch.maximum(log, log.max() - 8.0) + 4.0) / 4.0).float().numpy()
    return made


def make_clip(seconds: float) -> np.ndarray:
    """Make a clip with a voice's changes in pitch and loudness, from its length alone."""
    size = round(seconds * RATE)
    random = np.random.default_rng(size)
    time = np.arange(size) / RATE
    tone = np.sin(2 * np.pi * time * (180 + 60 * np.sin(2.2 * time)))
    loud = 0.1 + 0.3 * np.sin(1.7 * time) ** 2
    return (loud * tone + 0.02 * random.standard_normal(size)).astype(np.float32)


def draw_parameters(model):
    """Draw weights whose products neither vanish nor explode, and whose attention is sharp."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn_like(parameter)
            if parameter.ndim > 1:
                table = "embed_tokens" in name
                parameter.copy_(drawn * (0.3 if table else GAIN / parameter[0].numel() ** 0.5))
            else:
                parameter.add_(drawn * 0.1 + SHARP * ("q_norm" in name or "k_norm" in name))
    return model
