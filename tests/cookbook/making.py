"""Make the cookbook's bundles with tiny random weights: `python -m tests.cookbook.making FOLDER`.

Models are those of transformers; encoders become ONNX files by torch's own exporter.
"""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    WhisperConfig,
)
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextConfig, Qwen3VLTextModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "cookbook.md"
SPECIAL = ["<unk>", "<end>", "<image>", "<audio>"]
WIDTH, MELS, FRAMES, SIDE = 64, 16, 50, 24  # the decoder, and the encoder of speech
LEARNED = 4


def manifest(name: str) -> str:
    """Return a manifest of the page."""
    found = re.findall(r"```yaml\n(composer: 1\n.*?)```", PAGE.read_text("utf-8"), re.S)
    (text,) = (each for each in found if f"\nname: {name}\n" in each)
    return text


def tokenizer(folder: Path) -> None:
    """Write a tokenizer of bytes with a few control tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({token: id for id, token in enumerate([*SPECIAL, *letters])}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(SPECIAL)
    made.save(str(folder / "tokenizer.json"))


VOCABULARY = len(SPECIAL) + len(pre_tokenizers.ByteLevel.alphabet())
DECODER = {
    "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": VOCABULARY,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3,
    "max_position_embeddings": 256, "eos_token_id": 1, "bos_token_id": None, "pad_token_id": 1,
}  # fmt: skip


def seeded(seed: int) -> None:
    torch.manual_seed(seed)


def decoder(folder: Path) -> Qwen2ForCausalLM:
    """Write a Qwen2 with its tokenizer."""
    seeded(0)
    model = Qwen2ForCausalLM(Qwen2Config(**DECODER)).eval()
    model.save_pretrained(folder / "decoder")
    tokenizer(folder / "decoder")
    return model


def randomize(model: torch.nn.Module) -> None:
    """Give a model random weights, and its norms scales about 1."""
    for name, each in model.named_parameters():
        is_scale = "norm" in name and name.endswith("weight")
        torch.nn.init.normal_(each, mean=float(is_scale), std=0.3)


def export(model: torch.nn.Module, example: torch.Tensor, path: Path, given: str, out: str) -> None:
    """Write a model as an ONNX file of a fixed shape."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (example,), str(path), dynamo=False, opset_version=17,
            input_names=[given], output_names=[out],
        )  # fmt: skip


class Only(torch.nn.Module):
    """A module that returns one tensor of what another one returns."""

    def __init__(self, model: torch.nn.Module, choose) -> None:
        super().__init__()
        self.model, self.choose = model, choose

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.choose(self.model, given)


def speech_encoder(folder: Path) -> torch.nn.Module:
    """Write Whisper's encoder for a second of sound."""
    seeded(1)
    config = WhisperConfig(
        d_model=SIDE, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=40,
        num_mel_bins=MELS, max_source_positions=FRAMES, attn_implementation="eager", init_std=0.2,
    )  # fmt: skip
    model = Only(WhisperEncoder(config).eval(), lambda encoder, mel: encoder(mel).last_hidden_state)
    export(model, torch.zeros(1, MELS, 2 * FRAMES), folder / "speech.onnx", "mel", "frames")
    return model


def projector(folder: Path, name: str, seed: int, shapes: dict[str, tuple[int, ...]]) -> dict:
    """Write random tensors of a projector."""
    seeded(seed)
    tensors = {key: torch.randn(shape) / shape[-1] ** 0.5 for key, shape in shapes.items()}
    (folder / name).mkdir()
    save_file(tensors, folder / name / "model.safetensors")
    return tensors


def llava(folder: Path) -> dict:
    """Write the parts of a LLaVA: its vision tower, its projector and its decoder."""
    seeded(2)
    vision = CLIPVisionConfig(
        hidden_size=20, intermediate_size=28, num_hidden_layers=3, num_attention_heads=2,
        image_size=16, patch_size=8, initializer_range=0.3, attn_implementation="eager",
    )  # fmt: skip
    text = LlamaConfig(**DECODER)
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=SPECIAL.index("<image>")
    )
    model = LlavaForConditionalGeneration(config).eval()
    randomize(model)
    tower = Only(
        model.model.vision_tower,
        lambda tower, pixels: tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:],
    )
    export(tower, torch.zeros(1, 3, 16, 16), folder / "vision.onnx", "pixels", "patches")
    (folder / "picture_projector").mkdir()
    tensors = {key: value.contiguous() for key, value in
               model.model.multi_modal_projector.state_dict().items()}  # fmt: skip
    save_file(tensors, folder / "picture_projector" / "model.safetensors")
    alone = LlamaForCausalLM(text).eval()
    alone.model, alone.lm_head = model.model.language_model, model.lm_head
    alone.save_pretrained(folder / "llama")
    tokenizer(folder / "llama")
    return {"llava": model, "llama": alone}


def slam_asr(folder: Path) -> dict:
    """Make SLAM-ASR's parts."""
    shapes = {
        "0.weight": (40, 5 * SIDE),
        "0.bias": (40,),
        "2.weight": (WIDTH, 40),
        "2.bias": (WIDTH,),
    }
    return {
        "decoder": decoder(folder),
        "encoder": speech_encoder(folder),
        "projector": projector(folder, "projector", 3, shapes),
    }


def ultravox(folder: Path) -> dict:
    """Make Ultravox's parts."""
    names = {
        "ln_pre": (8 * SIDE,), "linear_1": (48, 8 * SIDE),
        "linear_2": (WIDTH, 24), "ln_post": (WIDTH,),
    }  # fmt: skip
    shapes = {f"{name}.weight": shape for name, shape in names.items()}
    return {
        "decoder": decoder(folder),
        "encoder": speech_encoder(folder),
        "projector": projector(folder, "projector", 4, shapes),
    }


def two_encoders(folder: Path) -> dict:
    """Make the parts of LLaVA and an encoder of speech."""
    shapes = {
        "1.weight": (40, 5 * SIDE),
        "1.bias": (40,),
        "3.weight": (WIDTH, 40),
        "3.bias": (WIDTH,),
    }
    return {
        **llava(folder),
        "encoder": speech_encoder(folder),
        "projector": projector(folder, "projector", 5, shapes),
    }


def soft_prompt(folder: Path) -> dict:
    """Make learned rows, as a table in an ONNX file, and a decoder."""
    seeded(6)
    table = torch.nn.Embedding(LEARNED, WIDTH)
    export(table, torch.arange(LEARNED), folder / "learned.onnx", "ids", "rows")
    return {"decoder": decoder(folder), "table": table}


def deepstack(folder: Path) -> dict:
    """Make a text decoder of Qwen3-VL, and a projector."""
    seeded(7)
    config = Qwen3VLTextConfig(**DECODER, head_dim=16, tie_word_embeddings=False)
    model = Qwen3VLTextModel(config).eval()
    head = torch.nn.Linear(WIDTH, VOCABULARY, bias=False)
    randomize(model)
    randomize(head)
    (folder / "decoder").mkdir()
    tensors = {name: each.contiguous() for name, each in model.state_dict().items()}
    save_file(
        tensors | {"lm_head.weight": head.weight.detach()}, folder / "decoder" / "model.safetensors"
    )
    (folder / "decoder" / "config.json").write_text(config.to_json_string(use_diff=False))
    tokenizer(folder / "decoder")
    shapes = {"0.weight": (WIDTH, 20), "0.bias": (WIDTH,)}
    return {"model": model, "head": head, "projector": projector(folder, "projector", 8, shapes)}


ALL = {
    "slam-asr": slam_asr,
    "ultravox": ultravox,
    "llava": llava,
    "two-encoders": two_encoders,
    "soft-prompt": soft_prompt,
    "deepstack": deepstack,
}


def make(name: str, folder: Path) -> dict:
    """Make one bundle, and return its parts as torch has them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bundle.yaml").write_text(manifest(name), "utf-8")
    with torch.no_grad():
        return ALL[name](folder)


if __name__ == "__main__":
    for each in ALL:
        make(each, Path(sys.argv[1]) / each)
