"""MERaLiON's release with its own Gemma-2 decoder, against transformers and torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers.generation.logits_process import NoRepeatNGramLogitsProcessor

import composer
from composer.sources.shipped import shipped_bundles
from tests.models.meralion.reference import JOINED, MELS, OUT, Reference, config_of, tensors
from tests.reference.elderwise import RATE, WINDOW, tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")
MARKS = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
SLOT, TOKENS, BANNED = 0, 30, 6
PROMPT = (
    "<bos><start_of_turn>user\nInstruction: Please transcribe this speech. \nFollow the text "
    "instruction based on the following audio: {speech}<end_of_turn>\n<start_of_turn>model\n"
)


class Release:
    """The encoder, the adaptor and the decoder, each by its own reference."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer: Tokenizer = tokenizer(MARKS)
        self.speech = Reference(window=WINDOW * 50)
        self.extractor = transformers.WhisperFeatureExtractor(
            feature_size=MELS, chunk_length=WINDOW, sampling_rate=RATE
        )
        torch.manual_seed(5)
        config = transformers.Gemma2Config(
            vocab_size=self.tokenizer.get_vocab_size(), hidden_size=OUT, intermediate_size=64,
            num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
            query_pre_attn_scalar=16, sliding_window=64, attn_logit_softcapping=0.8,
            final_logit_softcapping=4.0, max_position_embeddings=512, initializer_range=0.4,
            eos_token_id=1, attn_implementation="eager",
        )  # fmt: skip
        self.decoder = transformers.Gemma2ForCausalLM(config).eval()
        with torch.no_grad():
            for value in self.decoder.parameters():
                if value.ndim == 1:
                    value.add_(torch.randn(value.shape) * 0.2)
        self._write(config)

    def _write(self, config: Any) -> None:
        self.folder.mkdir(parents=True)
        decoder = self.decoder.state_dict()
        decoder.pop("lm_head.weight")
        named = {f"text_decoder.{name}": value.contiguous() for name, value in decoder.items()}
        save_file(tensors(self.speech) | named, self.folder / "model.safetensors")
        text = json.loads(config.to_json_string(use_diff=False))
        text = {key: value for key, value in text.items() if value is not None}
        whole = {
            "model_type": "meralion2",
            "speech_config": config_of(self.speech),
            "text_config": text,
            "speech_mlp_scale_factor": JOINED,
            "speech_token_index": 255999,
        }
        (self.folder / "config.json").write_text(json.dumps(whole))
        self.tokenizer.save(str(self.folder / "tokenizer.json"))

    @torch.no_grad()
    def run(self, clip: np.ndarray) -> dict[str, Any]:
        """Return what each stage gives for a clip, window by window."""
        size = WINDOW * RATE
        mels = []
        for at in range(0, len(clip), size):
            made = self.extractor(
                clip[at : at + size], sampling_rate=RATE, padding="max_length", device="cpu",
                do_normalize=True, return_attention_mask=True, return_tensors="np",
            )  # fmt: skip
            mels.append(made["input_features"][0])
        soft = torch.tensor(self.speech.rows(*mels))
        text = PROMPT.replace("{speech}", "<pad>" * len(soft))
        ids = np.array(self.tokenizer.encode(text).ids)
        rows = self.decoder.model.embed_tokens.weight[torch.tensor(ids)].clone()
        rows[torch.tensor(ids) == SLOT] = soft
        found = {"mel": np.concatenate(mels, 1), "soft": soft.numpy(), "asked.ids": ids,
                 "embeds": rows.numpy()}  # fmt: skip
        ban, answer = NoRepeatNGramLogitsProcessor(BANNED), []
        embeds, table = rows * OUT**0.5, self.decoder.model.embed_tokens
        while len(answer) < TOKENS:
            logits = self.decoder(inputs_embeds=embeds[None], use_cache=False).logits[0, -1:]
            if answer:
                logits = ban(torch.tensor([answer]), logits)
            else:
                found["first"] = logits[0].numpy()
            answer.append(int(logits[0].argmax()))
            embeds = torch.cat([embeds, table(torch.tensor(answer[-1:]))])
        return found | {"ids": answer}


@pytest.fixture(scope="module")
def release(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Release:
    return Release(tmp_path_factory.mktemp("meralion") / "repo")


def manifest(name: str, folder: Path) -> Path:
    """Write the shipped manifest for the sizes of the small release."""
    text = shipped_bundles()[name].read_text()
    for old, new in (
        (f"hf:MERaLiON/{name.replace('meralion', 'MERaLiON').replace('b', 'B')}", "./repo"),
        ("mels: 128", f"mels: {MELS}"),
        ("seconds: 30", f"seconds: {WINDOW}"),
        ("max_tokens: 512", f"max_tokens: {TOKENS}"),
        ("{text: $answer.text}", "{text: $answer.text, ids: $answer.ids}"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = folder / "bundle.yaml"
    path.write_text(text)
    return path


def clip(seconds: float) -> np.ndarray:
    random = np.random.default_rng(round(seconds * 1000))
    time = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * 200 * time * (1 + time))
    return (0.3 * tone + 0.05 * random.normal(size=len(time))).astype(np.float32)


@pytest.mark.parametrize("name", ["meralion-2-3b", "meralion-2-10b", "meralion-3-10b"])
@pytest.mark.parametrize(
    ("seconds", "backend"), [(0.7, "mlx"), (3.0, "onnx"), (7.1, "onnx"), (7.1, "mlx")]
)
def test_every_stage_is_that_of_transformers(
    release: Release, name: str, seconds: float, backend: str
) -> None:
    audio = clip(seconds)
    expected = release.run(audio)
    path = manifest(name, release.folder.parent)
    with composer.load(path, backends={"*": backend}) as bundle:
        got = bundle.run(audio=(audio, RATE), taps=True)
    for stage, close in (("mel", 1e-4), ("soft", 1e-4), ("embeds", 1e-4)):
        found = np.asarray(got.taps[stage])
        assert found.shape == expected[stage].shape
        np.testing.assert_allclose(found, expected[stage], rtol=0, atol=close)
    np.testing.assert_array_equal(got.taps["asked.ids"], expected["asked.ids"])
    assert got.outputs["ids"].tolist() == expected["ids"]
    assert len({*expected["ids"]}) >= 5, "an answer of few tokens would prove little"


def test_rows_that_are_scaled_already_give_another_answer(release: Release) -> None:
    """Speech is in the space of the table's rows; 4.9 times as large it is another answer."""
    audio = clip(3.0)
    expected = release.run(audio)
    with composer.load(manifest("meralion-2-3b", release.folder.parent)) as bundle:
        soft = expected["soft"] * np.float32(OUT**0.5)
        got = bundle.run(audio=(audio, RATE), feed={"soft": soft})
    assert got.outputs["ids"].tolist() != expected["ids"]


def test_without_the_ban_a_run_comes_twice(release: Release) -> None:
    """The ban is what the manifest states, and it changes this answer."""
    audio = clip(3.0)
    path = manifest("meralion-2-3b", release.folder.parent)
    path.write_text(path.read_text().replace("no_repeat_ngram_size: 6, ", ""))
    with composer.load(path) as bundle:
        free = bundle.run(audio=(audio, RATE), taps=True).outputs["ids"].tolist()
    runs = [tuple(free[at : at + BANNED]) for at in range(len(free) - BANNED + 1)]
    assert len({*runs}) < len(runs)
    ids = release.run(audio)["ids"]
    runs = [tuple(ids[at : at + BANNED]) for at in range(len(ids) - BANNED + 1)]
    assert len({*runs}) == len(runs)
