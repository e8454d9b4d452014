"""The Elderwise shape of transformers and torch with random weights, and the same as a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from composer.comparison.dump import Dump
from composer.comparison.reference_recorder import ReferenceRecorder
from tests.components import gemma4_models
from tests.models.meralion.reference import MELS, OUT, Reference, ported

RATE, WINDOW = 16_000, 3  # seconds that the encoder hears
TOKENS, RANK, SCALE, WIDTH = 24, 4, 20.0, gemma4_models.COMMON["hidden_size"]
SPECIAL = ("<pad>", "<eos>", "<bos>", "<|turn>", "<turn|>", "<|audio>", "<audio|>", "<|audio|>")
INSTRUCTION = "Transcribe the following audio:"
MANIFEST = Path(__file__).with_name("elderwise.yaml").read_text()


def tokenizer(special: tuple[str, ...] = SPECIAL) -> Tokenizer:
    """Make a tokenizer of bytes and Gemma-4's marks."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: at for at, token in enumerate((*special, *letters))}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    return made


class Elderwise:
    """Encoder, projector, decoder and adapter, each by its own reference."""

    def __init__(self, kind: str = "e2b") -> None:
        self.kind = kind
        self.tokenizer = tokenizer()
        rows = self.tokenizer.get_vocab_size()
        self.vocabulary = {"vocab_size": rows, "vocab_size_per_layer_input": rows}
        self.speech = Reference(window=WINDOW * 50)
        self.extractor = transformers.WhisperFeatureExtractor(
            feature_size=MELS, chunk_length=WINDOW, sampling_rate=RATE
        )
        torch.manual_seed(7)
        nn = torch.nn
        self.projector = nn.Sequential(
            nn.LayerNorm(OUT, eps=1e-5),
            nn.Linear(OUT, 40),
            nn.SiLU(),
            nn.Linear(40, WIDTH),
            nn.RMSNorm(WIDTH, eps=1e-5),
        ).eval()
        for value in self.projector.parameters():
            value.data += torch.randn(value.shape) * 0.3
        self.plain = gemma4_models.torch_model(kind, **self.vocabulary)
        self.adapter = self.updates()
        self.adapted = self.fused()

    def updates(self) -> dict[str, torch.Tensor]:
        """Draw A [in, r] and B [r, out] for every projection that the decoder has."""
        torch.manual_seed(9)
        found = {}
        for name, module in self.plain.named_modules():
            if name.endswith("_proj") and (".self_attn." in name or ".mlp." in name):
                out, width = module.weight.shape
                found[f"language_model.{name}.lora_a"] = torch.randn(width, RANK) / width**0.5
                found[f"language_model.{name}.lora_b"] = torch.randn(RANK, out) * 0.01
        return found

    def fused(self) -> Any:
        """Return the decoder with the adapter in its weights."""
        made = gemma4_models.torch_model(self.kind, **self.vocabulary)
        for name, module in made.named_modules():
            if f"language_model.{name}.lora_a" in self.adapter:
                a, b = (self.adapter[f"language_model.{name}.lora_{x}"] for x in "ab")
                module.weight.data += SCALE * (a @ b).T
        return made

    def write(self, folder: Path) -> Path:
        """Write the bundle in the layout of the release and return its manifest."""
        weights = folder / "weights"
        ported(weights / "speech_encoder", self.speech)
        gemma4_models.save(
            self.plain, weights / "decoder", self.kind, prefix="language_model.model."
        )
        self.tokenizer.save(str(weights / "decoder" / "tokenizer.json"))
        names = {f"layers.{name}": value for name, value in self.projector.state_dict().items()}
        (weights / "projector").mkdir()
        save_file(names, weights / "projector" / "model.safetensors")
        (weights / "lora").mkdir()
        save_file(self.adapter, weights / "lora" / "adapters.safetensors")
        messages = {"rank": RANK, "scale": SCALE}
        (weights / "lora" / "lora_config.json").write_text(json.dumps(messages))
        path = folder / "bundle.yaml"
        path.write_text(MANIFEST)
        return path

    @torch.no_grad()
    def dump(self, clip: np.ndarray, audio: Any, adapted: bool = True, pad: int = 0) -> Dump:
        """Run every reference on a clip, slice by slice, and keep each stage under its name."""
        kept = ReferenceRecorder(task="default")
        kept.keep("audio", audio)
        kept.keep("instruction", INSTRUCTION)
        size = WINDOW * RATE
        slices = [clip[at : at + size] for at in range(0, len(clip), size)]
        mels = [self.mel(each) for each in slices]
        kept.keep("mel", np.concatenate(mels, 1), "M F", along="M")
        encoded = kept.keep("heard", self.speech.rows(*mels), "N D")
        soft = kept.keep("soft", self.projector(torch.tensor(encoded)), "N O")
        ids = self.ids(len(encoded))
        slots = ids == SPECIAL.index("<|audio|>")
        kept.keep("asked.ids", ids, "T")
        kept.keep("asked.slots", slots, "T")
        model = self.adapted if adapted else self.plain
        words = kept.keep("words", model.model.embed_tokens(torch.tensor(ids)), "T D")
        embeds = words.clone()
        embeds[slots] = soft
        kept.keep("embeds", embeds, "T D")
        text_ids = kept.keep("text_ids", np.where(slots, pad, ids), "T")
        rows = model.model.get_per_layer_inputs(torch.tensor(text_ids)[None])
        kept.keep("per_layer", rows, "T L P")
        logits, steps, answer = [], [], []
        embeds = embeds[None]
        for step in range(TOKENS + 1):
            logits = model(inputs_embeds=embeds, per_layer_inputs=rows).logits
            if step == 0:
                kept.keep("scores", logits, "T V")
            if step == TOKENS:
                break
            steps.append(logits[0, -1])
            last = logits[:, -1:].argmax(-1)
            answer.append(last.item())
            embeds = torch.cat([embeds, model.model.embed_tokens(last)], 1)
            rows = torch.cat([rows, model.model.get_per_layer_inputs(last)], 1)
        kept.keep("answer.text", self.tokenizer.decode(answer))
        kept.keep("answer.ids", np.array(answer), "N")
        kept.keep("answer_steps", torch.stack(steps), "N V")
        return kept.dump()

    def mel(self, clip: np.ndarray, normalize: bool = True) -> np.ndarray:
        """Return the log-mel [M, F] of one slice, as MERaLiON's processor asks for it."""
        made = self.extractor(
            clip, sampling_rate=RATE, padding="max_length", do_normalize=normalize,
            return_attention_mask=True, return_tensors="np", device="cpu",
        )  # fmt: skip
        found: np.ndarray = made["input_features"][0]
        return found

    def ids(self, rows: int) -> np.ndarray:
        """Tokenize the prompt piece by piece."""
        text = f"<bos><|turn>user\n<|audio>{'<|audio|>' * rows}<audio|>{INSTRUCTION}<turn|>\n"
        return np.array(self.tokenizer.encode(f"{text}<|turn>model\n").ids)
