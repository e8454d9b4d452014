"""The miniature aligner: its data, that what is trained is what runs, and what is shipped."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch

import composer
from composer.cli import main
from composer.sources.shipped import shipped_folder
from training import corpus, features, targets
from training.aligner import data, evaluate, export, rows
from training.aligner.encoder import encoder
from training.aligner.model import CLASS_SECONDS, CLASSES, TEXT, Aligner
from training.mega_asr.model import AUDIO, ROW_SECONDS

MINI = shipped_folder("bundles") / "aligner-mini"


@pytest.fixture(scope="module")
def folder(speaks: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("aligner")
    corpus.build(made / "corpus", 16, workers=1)
    rows.build(made / "corpus", made / "rows", versions=1)
    return made


def test_spans_are_the_times_of_the_synthesizer(folder: Path) -> None:
    entries, _ = corpus.read(folder / "corpus")
    known = 0
    for entry in entries:
        spans = targets.word_spans(entry)
        assert len(spans) == len(entry.text.split())
        times = {position: time for time, position in entry.words}
        at, before = 0, 0.0
        for word, span in zip(entry.text.split(), spans, strict=True):
            if span:
                known += 1
                assert span[0] == times[at]
                assert before <= span[0] < span[1] <= max(time for time, _ in entry.phones)
                before = span[1]
            at += len(word) + 1
    assert known > 40


def test_a_batch_has_two_marks_behind_each_word(folder: Path) -> None:
    batches = data.Batches(folder / "rows", 4, seed=0)
    batch = next(batches.from_step(0))
    entries = {entry["text"]: entry for entry in batches.entries}
    for ids, slots, times in zip(batch.ids, batch.slots, batch.times, strict=True):
        count = int((slots >= 0).sum())
        assert slots[1 : count + 1].tolist() == list(range(count))
        marks = (ids == batches.mark).nonzero().flatten()
        text = batches.tokenizer.decode(ids[count + 2 : marks[-1] + 1].tolist(), False)
        words = text.split(data.MARK * 2)[:-1]
        entry = entries[" ".join(words)]
        wanted = [time for span in entry["spans"] for time in span or [-1.0, -1.0]]
        np.testing.assert_allclose(times[marks].numpy(), wanted, rtol=1e-6)
    named = data.own_classes(batch.slots)
    assert named[0, 1] == round(0.5 * ROW_SECONDS / CLASS_SECONDS)
    assert named[0, 0] == data.classes(torch.tensor([-1.0]))[0]


def shipped_model(checkpoint: Path) -> Aligner:
    """Return the trained network with the weights as they are once shipped, dequantized."""
    stored = mx.load(str(checkpoint / "model.safetensors"))
    bits = json.loads((checkpoint / "config.json").read_text())["quantization"]
    model, state = Aligner(), {}
    for name in model.state_dict():
        module = f"thinker.{name.rpartition('.')[0]}"
        value = stored[f"thinker.{name}"]
        if f"{module}.scales" in stored:
            own = bits.get(module, bits)
            parts = (stored[f"{module}.{part}"] for part in ("scales", "biases"))
            value = mx.dequantize(value, *parts, own["group_size"], own["bits"])
        state[name] = torch.from_numpy(np.array(value.astype(mx.float32)))
    model.load_state_dict(state)
    return model.eval()


def test_what_is_trained_is_what_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save({"model": Aligner().state_dict()}, tmp_path / "checkpoint.pt")
    export.export(tmp_path, tmp_path / "checkpoint")
    shutil.copy(MINI / "bundle.yaml", tmp_path / "bundle.yaml")
    text, wave = "four seven two", np.random.default_rng(0).normal(0, 0.1, 40_000).astype("f4")
    with composer.load(tmp_path) as bundle:
        found = bundle.run(audio=(wave, 16_000), transcript=text, taps=True)
    taps = {name: np.asarray(value) for name, value in found.taps.items()}
    mel = features.log_mel(wave, AUDIO.num_mel_bins)
    tokenizer = data.tokenizer()
    marks = "".join(word + data.MARK * 2 for word in text.split())
    prompt = "<|audio_start|>" + "<|audio_pad|>" * AUDIO.rows(mel.shape[1]) + "<|audio_end|>"
    ids = tokenizer.encode(prompt + marks).ids
    assert taps["asked.ids"].tolist() == ids
    with torch.no_grad():
        given = torch.from_numpy(mel)[None], torch.tensor([mel.shape[1]])
        encoded = encoder()(*given)[:, : AUDIO.rows(mel.shape[1])]
        slots = torch.tensor(np.where(taps["asked.slots"], taps["asked.slots"].cumsum() - 1, -1))
        model = shipped_model(tmp_path / "checkpoint")
        _, late, _ = model(encoded, torch.tensor(ids)[None], slots[None])
    np.testing.assert_allclose(taps["soft"], encoded[0], rtol=0, atol=2e-3)
    want = late[0, taps["asked.marks"]].numpy()
    assert want.shape == taps["logits"].shape == (6, CLASSES)
    np.testing.assert_allclose(taps["logits"], want, rtol=0, atol=2e-3 * np.abs(want).max())
    assert TEXT.vocab_size == tokenizer.get_vocab_size()


def references() -> list[dict]:
    lines = (MINI / "clips" / "references.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_words_are_where_the_synthesizer_has_them() -> None:
    found, late, swapped = [], [], []
    with composer.load("aligner-mini") as bundle:
        for entry in references():
            clip, spans = MINI / "clips" / entry["audio"], entry["spans"]
            made = composer.align(bundle, clip, entry["text"])
            assert [word.text for word in made.words] == entry["text"].split()
            found += evaluate.errors(made.words, spans)
            late += evaluate.errors([word.later(0.08) for word in made.words], spans)
            swapped += evaluate.errors(made.words, spans[1:] + spans[:1])
    found, late, swapped = (np.array(each) for each in (found, late, swapped))
    assert np.median(found) < 30
    assert np.quantile(found, 0.9) < 100  # all but a long clip in noise of 11 dB
    assert np.median(late) > 55  # times that are one row late, or those of other words, are seen
    assert np.median(swapped) > 150


def test_the_miniature_aligns_what_the_other_transcribes(capsys: pytest.CaptureFixture) -> None:
    clip = str(MINI / "clips" / references()[0]["audio"])
    assert (
        main(["transcribe", "mega-asr-mini", clip, "-f", "jsonl", "--align", "aligner-mini"]) == 0
    )
    (segment,) = json.loads(capsys.readouterr().out)["segments"]
    assert [word["word"] for word in segment["words"]] == segment["text"].split()
    assert {word["source"] for word in segment["words"]} == {"aligner-mini"}


def test_it_is_small() -> None:
    files = list((MINI / "checkpoint").iterdir())
    assert sum(path.stat().st_size for path in files) < 3_000_000
    assert sorted(path.name for path in files) == [
        "config.json", "model.safetensors", "tokenizer.json"
    ]  # fmt: skip
