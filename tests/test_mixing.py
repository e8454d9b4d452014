"""Encoders, projectors and decoders of both miniatures mix by manifest alone."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import composer

BUNDLES = Path(__file__).parent.parent / "bundles"
MEGA, ELDER = BUNDLES / "mega-asr-mini", BUNDLES / "elderwise-mini"
CLIP = ELDER / "clips" / "digits-01.flac"
INSTRUCTION = "Transcribe the following audio:"

PROJECTOR = """\
  projector:
    use: stack
    weights: made
    config: {layers: [layer_norm, linear]}
    emits: decoder.embed
"""
MERALION_TO_QWEN3 = f"""\
composer: 1
name: meralion-to-qwen3
sources: {{elder: ./elder, mega: ./mega, made: ./made}}
components:
  features: {{use: audio.log_mel, config: {{mels: 80, normalize: true, pad: {{seconds: 9}}}}}}
  encoder: {{use: meralion, weights: elder/speech_encoder, precision: float32}}
{PROJECTOR}  decoder:
    use: mlx.lm
    weights: mega/mlx/llm-mixed8_4
    files: mega/tokenizer
    precision: float32
  prompt:
    use: text.prompt
    files: mega/tokenizer
    config:
      slot: <|audio_pad|>
      template: "<|im_start|>user\\n<|audio_start|>{{speech}}<|audio_end|><|im_end|>\\n"
inputs: {{audio: audio}}
graph:
  mel: {{run: features, with: {{audio: $audio}}}}
  encoded: {{run: encoder, with: {{mel: $mel}}}}
  soft: {{run: projector, with: {{x: $encoded}}}}
  asked: {{run: prompt, with: {{speech: $soft}}}}
  words: {{run: decoder.embed, with: {{ids: $asked.ids}}}}
  embeds: {{run: scatter, with: {{base: $words, at: $asked.slots, values: $soft}}}}
  answer: {{run: decoder.generate, with: {{embeds: $embeds, max_tokens: 12}}}}
outputs: {{text: $answer.text, ids: $answer.ids}}
"""
ONNX_TO_GEMMA4 = f"""\
composer: 1
name: onnx-to-gemma4
sources: {{elder: ./elder, mega: ./mega, made: ./made}}
components:
  features: {{use: audio.log_mel, config: {{mels: 80}}}}
  encoder:
    use: onnx.graph
    weights: mega/onnx/audio_encoder_fp32.onnx
    config: {{rows: {{chunk: 200, stride: 8}}}}
{PROJECTOR}  decoder:
    use: mlx.gemma4
    weights: elder/decoder
    files: elder/decoder
    precision: float32
  prompt:
    use: text.prompt
    files: elder/decoder
    config: {{slot: <|audio|>, template: "<bos><|turn>user\\n{{speech}}<turn|>\\n<|turn>model\\n"}}
inputs: {{audio: audio}}
graph:
  mel: {{run: features, with: {{audio: $audio}}}}
  encoded: {{run: encoder, with: {{input_features: $mel}}}}
  soft: {{run: projector, with: {{x: $encoded}}}}
  asked: {{run: prompt, with: {{speech: $soft}}}}
  words: {{run: decoder.embed, with: {{ids: $asked.ids}}}}
  embeds: {{run: scatter, with: {{base: $words, at: $asked.slots, values: $soft}}}}
  text_ids: {{run: fill, with: {{ids: $asked.ids, at: $asked.slots, value: 0}}}}
  per_layer: {{run: decoder.per_layer, with: {{ids: $text_ids}}}}
  answer:
    run: decoder.generate
    with: {{embeds: $embeds, per_layer: $per_layer, max_tokens: 12}}
outputs: {{text: $answer.text, ids: $answer.ids}}
"""


def write(folder, text, width, into):
    """Write a manifest with a random projector between two widths."""
    random = np.random.default_rng(0)
    weights = {
        "0.weight": np.ones(width, np.float32),
        "0.bias": np.zeros(width, np.float32),
        "1.weight": (random.standard_normal((into, width)) / width**0.5).astype(np.float32),
        "1.bias": random.standard_normal(into).astype(np.float32) / 10,
    }
    made = folder / "made"
    made.mkdir()
    save_file(weights, made / "model.safetensors")
    path = folder / "bundle.yaml"
    path.write_text(text)
    return path, weights, {"elder": ELDER, "mega": MEGA, "made": made}


def projected(rows, weights):
    x = rows - rows.mean(1, keepdims=True)
    x = x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5)
    return x @ weights["1.weight"].T + weights["1.bias"]


def run(path, sources):
    assert composer.check(path, sources=sources).problems == ()
    with composer.load(path, sources=sources) as bundle:
        return bundle.run(audio=CLIP, taps=True)


def width_of(file, name):
    return load_file(file)[name].shape


def test_meralions_encoder_before_qwen3(tmp_path):
    width = width_of(ELDER / "speech_encoder" / "adaptor.safetensors", "out_proj.weight")[0]
    path, weights, sources = write(tmp_path, MERALION_TO_QWEN3, width, 192)
    result = run(path, sources)
    with composer.load(ELDER) as own:
        encoded = own.run(task="transcribe", audio=CLIP, taps=["encoded"]).taps["encoded"]
    np.testing.assert_array_equal(result.taps["encoded"], encoded)
    np.testing.assert_allclose(result.taps["soft"], projected(encoded, weights), atol=1e-4)
    with composer.load(MEGA) as own:
        again = own.run(
            only=["answer"],
            feed={"embeds": result.taps["embeds"]},
            options={"answer": {"max_tokens": 12}},
            taps=["answer.ids"],
        ).taps["answer.ids"]
    assert result.outputs["ids"].tolist() == again.tolist()
    assert len(again) > 0


def test_an_onnx_encoder_before_gemma4(tmp_path):
    with composer.load(ELDER) as own:
        into = own.plan("transcribe").graph.length(("component", "decoder", "D"))
        path, weights, sources = write(tmp_path, ONNX_TO_GEMMA4, 192, into)
        result = run(path, sources)
        again = own.run(
            task="chat",
            only=["answer"],
            feed={name: result.taps[name] for name in ("embeds", "per_layer")},
            options={"answer": {"max_tokens": 12}},
            taps=["answer.ids"],
        ).taps["answer.ids"]
    with composer.load(MEGA) as own:
        encoded = own.run(audio=CLIP, taps=["soft"]).taps["soft"]
    np.testing.assert_array_equal(result.taps["encoded"], encoded)
    np.testing.assert_allclose(result.taps["soft"], projected(encoded, weights), atol=1e-4)
    assert result.outputs["ids"].tolist() == again.tolist()
    assert len(again) > 0


@pytest.mark.parametrize("text", [MERALION_TO_QWEN3, ONNX_TO_GEMMA4], ids=["qwen3", "gemma4"])
def test_without_a_projector_the_widths_are_reported(tmp_path, text):
    path, _, sources = write(tmp_path, text, 10, 10)
    problems = [str(problem) for problem in composer.check(path, sources=sources).problems]
    assert any("W209" in problem and "comes from" in problem for problem in problems)
