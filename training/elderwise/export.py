"""Write the trained networks as the folders of the bundle, in the release's layouts."""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from training import bpe
from training.elderwise import decoder, mels, rows, text
from training.elderwise.encoder import SPEECH, SpeechEncoder
from training.elderwise.train_speech import Transcriber, load_text

MLX = {"format": "mlx"}
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<|turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content }}<turn|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn>model\n{% endif %}"
)


def write(folder: Path, name: str, value: object) -> None:
    """Write a config."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value, indent=2) + "\n")


def save(file: Path, tensors: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Write tensors in one type."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().to(dtype).contiguous() for k, v in tensors.items()}, file, MLX)


def export_encoder(encoder: SpeechEncoder, folder: Path) -> None:
    """Write the speech encoder in float16 as MLX's port of MERaLiON does."""
    state = encoder.state_dict()
    tower = {
        name.removeprefix("speech_encoder."): tensor
        for name, tensor in state.items()
        if name.startswith("speech_encoder.")
    }
    for name in ("conv1.weight", "conv2.weight"):
        tower[name] = tower[name].transpose(1, 2)  # to (out, kernel, in)
    tower["embed_positions"] = tower.pop("embed_positions.weight")
    adaptor = {
        name.removeprefix("speech_audio_adapter.").replace("mlp_adapter.", "mlp_adapter.layers."): t
        for name, t in state.items()
        if not name.startswith("speech_encoder.")
    }
    save(folder / "encoder.safetensors", tower, torch.float16)
    save(folder / "adaptor.safetensors", adaptor, torch.float16)
    write(
        folder,
        "encoder_config.json",
        {
            "model_type": "whisper",
            "num_mel_bins": SPEECH.num_mel_bins,
            "d_model": SPEECH.d_model,
            "encoder_layers": SPEECH.encoder_layers,
            "encoder_attention_heads": SPEECH.encoder_attention_heads,
            "encoder_ffn_dim": SPEECH.encoder_ffn_dim,
            "max_source_positions": SPEECH.max_source_positions,
            "activation_function": "gelu",
        },
    )
    write(
        folder,
        "adaptor_config.json",
        {
            "speech_hidden_size": SPEECH.d_model,
            "text_hidden_size": SPEECH.text_hidden,
            "scale_factor": SPEECH.speech_mlp_scale_factor,
        },
    )
    write(
        folder,
        "preprocessor_config.json",
        {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": mels.MELS,
            "sampling_rate": 16000,
            "n_fft": 400,
            "hop_length": 160,
            "chunk_length": mels.WINDOW // 100,
            "n_samples": mels.WINDOW * 160,
            "nb_max_frames": mels.WINDOW,
            "padding_value": 0.0,
            "padding_side": "right",
            "do_normalize": True,
            "return_attention_mask": True,
        },
    )


def export_decoder(state: dict[str, Tensor], tokenizer: Tokenizer, folder: Path) -> None:
    """Write the language model in bfloat16 as mlx-lm loads it, and its tokenizer."""
    tensors = {
        f"language_model.{name}": tensor
        for name, tensor in state.items()
        if name != "lm_head.weight"  # tied
    }
    save(folder / "model.safetensors", tensors, torch.bfloat16)
    ends = [text.EOS, text.stop(tokenizer)]
    sizes = {key: value for key, value in decoder.CONFIG.items() if not key.endswith("token_id")}
    write(
        folder,
        "config.json",
        {
            "architectures": ["Gemma4ForConditionalGeneration"],
            "model_type": "gemma4",
            "dtype": "bfloat16",
            "vocab_size": text.VOCABULARY,
            "tie_word_embeddings": True,
            "pad_token_id": text.PAD,
            "bos_token_id": text.BOS,
            "eos_token_id": ends,
            "boa_token_id": bpe.identify(tokenizer, "<|audio>"),
            "eoa_token_id": bpe.identify(tokenizer, "<audio|>"),
            "audio_token_id": bpe.identify(tokenizer, "<|audio|>"),
            "text_config": {"model_type": "gemma4_text", "dtype": "bfloat16", **sizes},
        },
    )
    write(
        folder,
        "generation_config.json",
        {"bos_token_id": text.BOS, "eos_token_id": ends, "pad_token_id": text.PAD},
    )
    write(
        folder,
        "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "chat_template": CHAT_TEMPLATE,
        },
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def export_projector(state: dict[str, Tensor], folder: Path) -> None:
    """Write the projector in float32 as MLX's Sequential."""
    tensors = {f"layers.{name}": tensor for name, tensor in state.items()}
    save(folder / "projector.safetensors", tensors, torch.float32)


def export_lora(adapters: dict[str, decoder.Lora], folder: Path) -> None:
    """Write the adapter in float32 under the names of mlx-lm."""
    tensors = {}
    for name, lora in adapters.items():
        tensors[f"language_model.model.{name}.lora_a"] = lora.lora_a
        tensors[f"language_model.model.{name}.lora_b"] = lora.lora_b
    save(folder / "adapters.safetensors", tensors, torch.float32)
    write(
        folder,
        "lora_config.json",
        {
            "lora_rank": decoder.RANK,
            "lora_scale": decoder.SCALE,
            "lora_target_names": list(decoder.PROJECTIONS),
        },
    )


def export(run: Path, bundle: Path) -> None:
    """Write all four folders."""
    tokenizer = bpe.load(run)
    model = load_text(run)
    export_encoder(rows.load(run), bundle / "speech_encoder")
    export_decoder(model.state_dict(), tokenizer, bundle / "decoder")
    listener = Transcriber(model, tokenizer)
    listener.load_state_dict(torch.load(run / "speech.pt", map_location="cpu")["model"])
    export_projector(listener.projector.state_dict(), bundle / "projector")
    export_lora(listener.adapters, bundle / "lora")


def main() -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the tokenizer and the checkpoints")
    parser.add_argument("bundle", type=Path, help="folder to write")
    arguments = parser.parse_args()
    export(arguments.run, arguments.bundle)


if __name__ == "__main__":
    main()
