"""Gemma-4 with its audio tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.peers.models.gemma4 import REAL as REAL_TEXT
from benchmarks.peers.models.gemma4 import SMALL as SMALL_TEXT
from benchmarks.peers.models.gemma4 import write_checkpoint
from benchmarks.peers.models.model import Model

SMALL: dict[str, Any] = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "subsampling_conv_channels": [128, 32],
    "output_proj_dims": 256,
}
REAL: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "subsampling_conv_channels": [128, 32],
    "output_proj_dims": 1536,
}
MARKS = {
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
}
BUNDLE = r"""
composer: 1
name: gemma4-audio
sources: {repo: ./}
components:
  features: {use: audio.usm_log_mel}
  speech: {use: mlx.gemma4_audio, weights: repo/weights, emits: decoder.embed}
  decoder: {use: mlx.gemma4, weights: repo/weights}
  prompt:
    use: text.prompt
    files: repo/weights
    config:
      slot: <|audio|>
      template: "<bos><|turn>user\nWrite it down.<|audio>{speech}<audio|><turn|>\n<|turn>model\n"
variants:
  cpu: {components: {speech: {use: gemma4_audio}, decoder: {use: gemma4}}}
tasks:
  transcribe:
    inputs: {audio: audio}
    graph:
      mel:       {run: features,          with: {audio: $audio}}
      soft:      {run: speech,            with: {mel: $mel}}
      asked:     {run: prompt,            with: {speech: $soft}}
      words:     {run: decoder.embed,     with: {ids: $asked.ids}}
      embeds:    {run: scatter,           with: {base: $words, at: $asked.slots, values: $soft}}
      text_ids:  {run: fill,              with: {ids: $asked.ids, at: $asked.slots, value: 0}}
      per_layer: {run: decoder.per_layer, with: {ids: $text_ids}}
      answer:
        run: decoder.generate
        with: {embeds: $embeds, per_layer: $per_layer, max_tokens: 64}
    outputs: {text: $answer.text, ids: $answer.ids}
"""


def gemma4_audio(folder: Path, real: bool = False) -> Model:
    """Write it in float32, small or with E2B's tower and widths, with its bundle."""
    import transformers

    from tests.reference.elderwise import SPECIAL, tokenizer

    special = (*SPECIAL, *(mark for mark in MARKS.values() if "image" in mark))
    ids = {f"{name}_id": special.index(mark) for name, mark in MARKS.items() if "audio" in mark}
    weights = folder / "weights"
    sizes, audio = (REAL_TEXT, REAL) if real else (SMALL_TEXT, SMALL)
    write_checkpoint(weights, sizes, audio, **ids)
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(special), bos_token="<bos>", eos_token="<eos>",
        pad_token="<pad>", extra_special_tokens=MARKS,
    )  # fmt: skip
    made.save_pretrained(weights)
    (folder / "bundle.yaml").write_text(BUNDLE.lstrip())
    shape = "Gemma-4-E2B's audio tower, widths and vocabulary, but 4 layers of its 35, 4.7 GB"
    small = "encoder 4 layers of 256, decoder 6 of 256"
    return Model(shape if real else small, folder, "transcribe", weights, (1,))
