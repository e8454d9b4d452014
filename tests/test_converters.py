"""The converter against transformers' own Qwen3-ASR, with small random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from mlx_lm.utils import load_model

from converters.audio_encoder import AudioEncoder, AudioEncoderConfig
from converters.names import split
from converters.onnx_encoder import export
from converters.qwen3_asr import Mix, convert, convert_decoder, convert_encoder

transformers = pytest.importorskip("transformers")

SECONDS = (0.35, 0.61, 1.0, 3.37, 7.99, 8.0, 8.01, 9.2, 17.5)
AUDIO = {
    "num_mel_bins": 128,
    "encoder_layers": 2,
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
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 320,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "rope_theta": 1e6,
}
RELEASED = {
    "model.audio_tower.": "thinker.audio_tower.",
    "model.multi_modal_projector.linear_1.": "thinker.audio_tower.proj1.",
    "model.multi_modal_projector.linear_2.": "thinker.audio_tower.proj2.",
    "model.language_model.": "thinker.model.",
    "lm_head.": "thinker.lm_head.",
}


def reference() -> Any:
    """Make a small model; biases and norms are drawn too, or they would hide mistakes."""
    torch.manual_seed(7)
    config = transformers.Qwen3ASRConfig(
        audio_config=AUDIO,
        text_config=TEXT,
        audio_token_id=300,
        pad_token_id=301,
        eos_token_id=[301, 302],
    )
    model = transformers.Qwen3ASRForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.fixture(scope="module")
def model() -> Any:
    return reference()


@pytest.fixture(scope="module")
def encoder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    out = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    return onnxruntime.InferenceSession(convert_encoder(model.state_dict(), AUDIO, out))


def clip(frames: int) -> torch.Tensor:
    """Draw log-mel frames from their count."""
    return torch.randn(1, 128, frames, generator=torch.Generator().manual_seed(frames))


def expected(model: Any, mel: torch.Tensor) -> np.ndarray:
    """Run transformers' encoder on frames padded to whole chunks."""
    frames = mel.shape[2]
    padded = torch.nn.functional.pad(mel, (0, -frames % 100))
    mask = (torch.arange(padded.shape[2]) < frames).long()[None]
    with torch.no_grad():
        return model.get_audio_features(padded, mask).pooler_output.numpy()


@pytest.mark.parametrize("frames", [1, 8, 9, 99, 101, 799, 801] + [int(s * 100) for s in SECONDS])
def test_onnx_encoder_matches_transformers(model: Any, encoder: Any, frames: int) -> None:
    mel = clip(frames)
    (found,) = encoder.run(None, {"input_features": mel.numpy()})
    want = expected(model, mel)
    assert found.shape == (1, 13 * (frames // 100) + -(-(frames % 100) // 8), 128)
    np.testing.assert_allclose(found[0], want, atol=1e-4)


def test_onnx_signature(encoder: Any) -> None:
    (given,), (made,) = encoder.get_inputs(), encoder.get_outputs()
    assert (given.name, given.type, given.shape) == (
        "input_features",
        "tensor(float)",
        [1, 128, "n_frames"],
    )
    assert (made.name, made.type, made.shape) == (
        "audio_embeds",
        "tensor(float)",
        [1, "n_rows", 128],
    )


def test_released_names_give_the_same_encoder(model: Any, encoder: Any, tmp_path: Path) -> None:
    state = {}
    for key, value in model.state_dict().items():
        prefix = next(prefix for prefix in RELEASED if key.startswith(prefix))
        state[RELEASED[prefix] + key.removeprefix(prefix)] = value
    path = convert_encoder(state, AUDIO, tmp_path / "encoder.onnx")
    mel = clip(920).numpy()
    (found,) = onnxruntime.InferenceSession(path).run(None, {"input_features": mel})
    (want,) = encoder.run(None, {"input_features": mel})
    np.testing.assert_array_equal(found, want)
    assert split(state).decoder.keys() == split(model.state_dict()).decoder.keys()


@pytest.mark.parametrize("n_window", [50, 100, 200])
def test_batch_of_many_equals_batch_of_one(n_window: int, tmp_path: Path) -> None:
    torch.manual_seed(3)
    encoder = AudioEncoder(AudioEncoderConfig.of({**AUDIO, "n_window": n_window})).eval()
    export(encoder, tmp_path / "encoder.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    lengths = [35, 799, 1203]
    batch = torch.zeros(3, 128, 1203)
    for row, frames in enumerate(lengths):
        batch[row, :, :frames] = clip(frames)[0]
    with torch.no_grad():
        many = encoder(batch, torch.tensor(lengths)).numpy()
    for row, frames in enumerate(lengths):
        (one,) = session.run(None, {"input_features": clip(frames).numpy()})
        np.testing.assert_allclose(many[row, : one.shape[1]], one[0], atol=1e-5)


def test_float32_decoder_gives_transformers_logits(model: Any, tmp_path: Path) -> None:
    import mlx.core as mx

    convert_decoder(model.state_dict(), TEXT, tmp_path, "float32", eos=(301, 302))
    decoder, config = load_model(tmp_path, strict=True)
    assert config["eos_token_id"] == [301, 302]
    ids = torch.arange(40)[None] * 7 % 300
    with torch.no_grad():
        want = model(input_ids=ids).logits.numpy()
    found = np.array(decoder(mx.array(ids.numpy())))
    np.testing.assert_allclose(found, want, atol=2e-4)


def test_mix_is_written_per_layer(model: Any, tmp_path: Path) -> None:
    import mlx.core as mx

    convert_decoder(model.state_dict(), TEXT, tmp_path, Mix(8, 4, 64))
    _, config = load_model(tmp_path, strict=True)
    entries = {k: v for k, v in config["quantization"].items() if isinstance(v, dict)}
    assert len(entries) == 2 * 7
    assert entries["model.layers.0.self_attn.q_proj"]["bits"] == 8
    assert entries["model.layers.1.mlp.down_proj"]["bits"] == 4
    tensors = mx.load(str(tmp_path / "model.safetensors"))
    assert tensors["model.embed_tokens.weight"].dtype == mx.bfloat16
    assert tensors["model.layers.0.mlp.up_proj.weight"].dtype == mx.uint32
    assert tensors["model.layers.0.mlp.up_proj.scales"].dtype == mx.bfloat16


def test_checkpoint_folder_converts(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "checkpoint")
    out = convert(tmp_path / "checkpoint", tmp_path / "out", Mix())
    assert (out / "onnx/audio_encoder_fp32.onnx").exists()
    _, config = load_model(out / "mlx/llm-mixed8_4", strict=True)
    assert sorted(config["eos_token_id"]) == [301, 302]
    assert config["rope_theta"] == 1e6


def test_strange_tensors_are_refused(model: Any, tmp_path: Path) -> None:
    state = dict(model.state_dict())
    with pytest.raises(ValueError, match=r"unknown tensors: talker\.weight"):
        convert_encoder({**state, "talker.weight": torch.zeros(1)}, AUDIO, tmp_path / "e.onnx")
    with pytest.raises(ValueError, match=r"the encoder has conv2d9\.weight"):
        convert_encoder(
            {**state, "model.audio_tower.conv2d9.weight": torch.zeros(1)},
            AUDIO,
            tmp_path / "e.onnx",
        )
    del state["model.language_model.norm.weight"]
    with pytest.raises(ValueError, match=r"the decoder is missing model\.norm\.weight"):
        convert_decoder(state, TEXT, tmp_path)


def test_a_head_that_is_not_tied_is_refused(model: Any, tmp_path: Path) -> None:
    state = {**model.state_dict(), "lm_head.weight": torch.zeros(320, 128)}
    with pytest.raises(ValueError, match=r"lm_head\.weight differs"):
        convert_decoder(state, TEXT, tmp_path)


def test_misaligned_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="do not align"):
        AudioEncoderConfig.of({**AUDIO, "n_window_infer": 850})
