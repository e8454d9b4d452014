"""The miniature of Mega-ASR's shape: tokenizer, prompt, batches, and what is shipped."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import composer
from training import corpus, espeak, evaluate, grammar, speech
from training.mega_asr import data, text, tower
from training.mega_asr.model import AUDIO, SpeechModel, TextConfig


@pytest.fixture(scope="module")
def tokenizer() -> text.Tokenizer:
    return text.build(3000)


def test_tokenizer_has_the_ids_the_model_has(tokenizer: text.Tokenizer) -> None:
    assert tokenizer.get_vocab_size() <= TextConfig().vocab_size
    line = "four two is a {weird} Ünïcode line"
    assert tokenizer.decode(tokenizer.encode(line).ids) == line
    separator = tokenizer.token_to_id(text.SEPARATOR)
    pad = tokenizer.token_to_id("<|audio_pad|>")
    assert tokenizer.decode([separator, pad], skip_special_tokens=True) == text.SEPARATOR


def test_prompt_is_the_published_one(tokenizer: text.Tokenizer) -> None:
    ids = text.prompt(tokenizer, 2, context="boston")
    assert tokenizer.decode(ids, skip_special_tokens=False) == (
        "<|im_start|>system\nboston<|im_end|>\n<|im_start|>user\n<|audio_start|>"
        "<|audio_pad|><|audio_pad|><|audio_end|><|im_end|>\n<|im_start|>assistant\n"
    )
    assert text.parse("language English<asr_text>nine") == text.parse("nine") == "nine"


@pytest.fixture(scope="module")
def batch(
    speaks: None, tokenizer: text.Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> data.Batch:
    folder = tmp_path_factory.mktemp("corpus")
    corpus.build(folder, 24, workers=1)
    tokenizer.save(str(folder / "tokenizer.json"))
    return next(iter(data.Batches(folder, folder, 6, seed=0, step=0)))


def test_batch_has_one_slot_for_each_row(batch: data.Batch) -> None:
    rows = AUDIO.rows(batch.frames)
    assert ((batch.slots >= 0).sum(1) == rows).all()
    assert (batch.slots.max(1).values == rows - 1).all()
    assert ((batch.rows != data.IGNORED).sum(1) == rows).all()
    for clip, frames in zip(batch.features, batch.frames, strict=True):
        assert (clip[:, frames:] == 0).all()


def test_labels_and_rows_hold_the_same_words(batch: data.Batch, tokenizer: text.Tokenizer) -> None:
    pad = tokenizer.token_to_id("<|audio_pad|>")
    for labels, rows in zip(batch.labels, batch.rows, strict=True):
        reply = tokenizer.decode([i for i in labels.tolist() if i != data.IGNORED])
        tokens = [i for i in rows.tolist() if i not in (data.IGNORED, pad)]
        assert text.parse(reply) == tokenizer.decode(tokens)


def test_a_batch_of_many_gives_what_a_batch_of_one_gives(batch: data.Batch) -> None:
    torch.manual_seed(0)
    model = SpeechModel(phones=200).eval()
    with torch.no_grad():
        many = model(batch.features, batch.frames, batch.ids, batch.slots)
        for at, frames in enumerate(batch.frames.tolist()):
            kept = batch.labels[at] != data.IGNORED
            one = model(
                batch.features[at : at + 1, :, :frames],
                batch.frames[at : at + 1],
                batch.ids[at : at + 1],
                batch.slots[at : at + 1],
            )
            torch.testing.assert_close(one.reply[0][kept], many.reply[at][kept], atol=1e-4, rtol=0)


BUNDLE = Path(__file__).parents[1] / "bundles" / "mega-asr-mini"


def test_shipped_clips_are_held_out() -> None:
    lines = (BUNDLE / "clips" / "references.jsonl").read_text().splitlines()
    clips = [json.loads(line) for line in lines]
    shipped = {path.name for path in (BUNDLE / "clips").glob("*.flac")}
    assert {clip["audio"] for clip in clips} == shipped
    for clip in clips:
        assert clip["voice"].partition("+")[2] in speech.HELD_OUT_VARIANTS
        if not clip["audio"].startswith("long"):
            assert grammar.is_held_out(clip["text"])


@pytest.mark.parametrize("language", ["English", None])
def test_shipped_files_transcribe_the_shipped_clips(language: str | None) -> None:
    transcribe = evaluate.transcriber(BUNDLE, language)
    words = errors = 0
    for line in (BUNDLE / "clips" / "references.jsonl").read_text().splitlines():
        clip = json.loads(line)
        wave, rate = soundfile.read(BUNDLE / "clips" / clip["audio"], dtype="float32")
        assert rate == espeak.RATE
        words += len(clip["text"].split())
        errors += evaluate.distance(clip["text"].split(), transcribe(wave).split())
    assert errors <= 0.05 * words


def test_shipped_weights_stay_small() -> None:
    weights = [*BUNDLE.glob("onnx/*"), *BUNDLE.glob("mlx/*/*"), *BUNDLE.glob("tokenizer/*")]
    assert sum(path.stat().st_size for path in weights) < 8_000_000


def test_the_encoder_in_safetensors_gives_the_rows_of_the_onnx_file(tmp_path: Path) -> None:
    clip = min((BUNDLE / "clips").glob("*.flac"))
    tower.write(BUNDLE, tmp_path / "open")
    rows = []
    for folder in (BUNDLE, tmp_path / "open"):
        with composer.load(folder) as bundle:
            tapped = bundle.run(audio=clip, only=["mel", "soft"], taps=["soft"])
            rows.append(tapped.taps["soft"])
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-5 * abs(rows[0]).max())
