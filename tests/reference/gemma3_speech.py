"""A Gemma-3 that has Phi-4's speech encoder and adapter, of transformers with random weights."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.reference import gemma3, phi4_audio
from tests.reference.elderwise import tokenizer

SPECIAL = (*gemma3.SPECIAL, "<start_of_audio>", "<audio_soft_token>", "<end_of_audio>")
TEXT, WIDTH, RANK, ALPHA, TOKENS = gemma3.TEXT, gemma3.TEXT["hidden_size"], 6, 12, 12
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
INSTRUCTION = "Transcribe this audio clip into text."
SPEECH_LORA = {
    "r": RANK, "lora_alpha": ALPHA, "dp": 0.01, "use_rslora": False,
    "layer": "((.*self_attn.*)|(.*mlp.*))",
}  # fmt: skip
WRAPPED = "_checkpoint_wrapped_module."
LARGE = {"image_size": 896, "num_hidden_layers": 1, "num_attention_heads": 1}


class Gemma3Speech:
    """Encoder, projector, decoder and adapter, which is in the weights of `adapted` alone."""

    def __init__(self) -> None:
        self.audio = phi4_audio.Phi4Audio()
        self.vision = gemma3.Gemma3(rows=256, **LARGE)  # of which the decoder is not used
        self.tokenizer = tokenizer(SPECIAL)
        sizes = TEXT | {"vocab_size": self.tokenizer.get_vocab_size(), "eos_token_id": 1}
        config = transformers.Gemma3TextConfig(**sizes)
        torch.manual_seed(5)
        self.base = transformers.Gemma3ForCausalLM._from_config(config, attn_implementation="eager")
        self.base.eval()
        nn = torch.nn
        self.projector = nn.Sequential(
            nn.Linear(phi4_audio.WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH)
        )
        with torch.no_grad():
            for name, value in self.base.named_parameters():
                if "norm" in name:
                    value.normal_(0.0, 0.2)  # 1 is added to it
            # Or each token would be followed by itself.
            self.base.model.embed_tokens.weight.normal_(0.0, 0.03)
            self.base.model.norm.weight.add_(5.0)
            for value in self.projector.parameters():
                value.normal_(0.0, 0.3)
            self.lora, self.adapted = self.updates()

    def updates(self) -> tuple[dict[str, torch.Tensor], Any]:
        """Draw A [r, in] and B [out, r] of every projection, and add them to a copy's weights."""
        lora, adapted = {}, copy.deepcopy(self.base)
        for name, module in adapted.named_modules():
            if not name.endswith(MODULES):
                continue
            out, width = module.weight.shape
            a, b = torch.randn(RANK, width) / width**0.5, torch.randn(out, RANK) * 0.1
            lora[f"{name}.lora_A"], lora[f"{name}.lora_B"] = a, b
            module.weight.add_(ALPHA / RANK * b @ a)
        return lora, adapted

    def id(self, token: str) -> int:
        """Return the id of a special token."""
        found: int = self.tokenizer.token_to_id(token)
        return found

    def write(self, folder: Path, *, inline: bool = True, **changes: Any) -> Path:
        """Write the layout of the release, its adapter inside or in a folder as PEFT writes it."""
        folder.mkdir(parents=True, exist_ok=True)
        state = load_file(self.vision.write(folder) / "model.safetensors")
        for name in list(state):
            if name.startswith("language_model."):
                del state[name]
        seen = json.loads((folder / "config.json").read_text())
        for name, value in self.audio.state().items():
            if name.startswith("encoders.1."):
                name = name.replace("encoders.1.", f"encoders.1.{WRAPPED}")
            state[f"audio_tower.{name}"] = value
        for name, value in self.projector.state_dict().items():
            state[f"audio_projector.{name}"] = value
        for name, value in self.base.state_dict().items():
            if inline and name.endswith(tuple(f"{module}.weight" for module in MODULES)):
                name = name.replace(".weight", ".base_layer.weight")
            if name != "lm_head.weight":
                state[f"language_model.{name}"] = value
        if inline:
            for name, value in self.lora.items():
                state[f"language_model.{name}.speech.weight"] = value
        else:
            self._write_peft(folder / "speech-lora")
        state = {name: value.contiguous().clone() for name, value in state.items()}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(seen | self.config(inline) | changes))
        self.tokenizer.save(str(folder / "tokenizer.json"))
        return folder

    def _write_peft(self, folder: Path) -> None:
        folder.mkdir()
        lora = {f"base_model.model.{name}.weight": value for name, value in self.lora.items()}
        save_file(lora, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        stated = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA}
        stated |= {"target_modules": [*MODULES]}
        (folder / "adapter_config.json").write_text(json.dumps(stated))

    def config(self, inline: bool) -> dict[str, Any]:
        """Return the release's config.json."""
        text = {k: v for k, v in TEXT.items() if k not in ("rope_parameters", "layer_types")}
        text |= {
            "model_type": "gemma3_text", "rope_theta": 1e6, "rope_local_base_freq": 1e4,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "sliding_window_pattern": 2,
            "vocab_size": self.tokenizer.get_vocab_size(),
        }  # fmt: skip
        lora = {"speech_lora": SPEECH_LORA} if inline else {}
        return {
            "architectures": ["Gemma3MMForConditionalGeneration"], "model_type": "gemma3",
            "audio_config": phi4_audio.CONFIG, "eos_token_id": [1, self.id("<end_of_turn>")],
            "audio_token_index": self.id("<audio_soft_token>"), "text_config": text,
            **lora,
        }  # fmt: skip

    def ids(self, rows: int, instruction: str = INSTRUCTION) -> np.ndarray:
        """Tokenize the prompt of a clip, its placeholders as many as the author's processor has."""
        speech = f"\n\n<start_of_audio>{'<audio_soft_token>' * rows}<end_of_audio>\n\n"
        text = f"<bos><start_of_turn>user\n{speech}{instruction}<end_of_turn>\n"
        return np.array(self.tokenizer.encode(f"{text}<start_of_turn>model\n").ids)

    @torch.no_grad()
    def stages(self, clip: np.ndarray, instruction: str = INSTRUCTION) -> dict[str, np.ndarray]:
        """Return what each node of the task transcribe gives, and the ids of the answer."""
        mel = self.audio.features(clip)
        rows = self.audio.stages(mel)["rows"]
        soft = self.projector(torch.tensor(rows))
        ids = self.ids(len(rows), instruction)
        slots = ids == self.id("<audio_soft_token>")
        embeds = self.adapted.model.embed_tokens(torch.tensor(ids))  # transformers' are scaled
        embeds[torch.tensor(slots)] = soft
        found = {"mel": mel, "encoded": rows, "soft": soft.numpy(), "asked.ids": ids}
        answer = self.greedy(self.adapted, embeds, slots)
        return found | {"embeds": embeds.numpy() / WIDTH**0.5, "answer.ids": np.array(answer)}

    @torch.no_grad()
    def greedy(self, model: Any, embeds: torch.Tensor, slots: np.ndarray) -> list[int]:
        """Return the ids that follow, each computed from the whole; rows of audio see each other.

        Layers with a window open the audio first, then cut to the window, as the author's code.
        """
        ids: list[int] = []
        stop = {1, self.id("<end_of_turn>")}
        while len(ids) < TOKENS:
            places = np.arange(len(embeds))
            audio = np.append(slots, np.zeros(len(ids), bool))
            seen = (places <= places[:, None]) | (audio & audio[:, None])
            near = places > places[:, None] - TEXT["sliding_window"]
            masks = {}
            for kind, mask in ((gemma3.FULL, seen), (gemma3.SLIDING, seen & near)):
                hidden = torch.finfo(torch.float32).min
                masks[kind] = torch.where(torch.tensor(mask), 0.0, hidden)[None, None]
            logits = model(inputs_embeds=embeds[None], attention_mask=masks).logits[0, -1]
            ids.append(int(logits.argmax()))
            if ids[-1] in stop:
                break
            embeds = torch.cat([embeds, model.model.embed_tokens(torch.tensor(ids[-1:]))])
        return ids

    @torch.no_grad()
    def see(self, pixels: np.ndarray, question: str) -> list[int]:
        """Return the ids that the base model answers a question with, about a picture's pixels."""
        rows = torch.tensor(self.vision.stages(pixels)["rows"])
        picture = f"\n\n<start_of_image>{'<image_soft_token>' * len(rows)}<end_of_image>\n\n"
        text = f"<bos><start_of_turn>user\n{picture}{question}<end_of_turn>\n"
        ids = np.array(self.tokenizer.encode(f"{text}<start_of_turn>model\n").ids)
        slots = ids == self.id("<image_soft_token>")
        embeds = self.base.model.embed_tokens(torch.tensor(ids))
        embeds[torch.tensor(slots)] = rows
        return self.greedy(self.base, embeds, slots)

    def reply(self, text: str, model: Any = None) -> list[int]:
        """Return the ids that a decoder answers a text with, by default the base model."""
        model = model or self.base
        prompt = f"<bos><start_of_turn>user\n{text}<end_of_turn>\n<start_of_turn>model\n"
        ids = np.array(self.tokenizer.encode(prompt).ids)
        with torch.no_grad():
            embeds = model.model.embed_tokens(torch.tensor(ids))
        return self.greedy(model, embeds, np.zeros(len(ids), bool))
