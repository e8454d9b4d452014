"""The miniature of Elderwise's shape: features, encoder, text, speech, export, what is shipped."""

import json
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest
import soundfile
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

import composer
from training import bpe, corpus, espeak, evaluate, grammar, loop, speech, turns
from training.elderwise import (
    chat,
    decoder,
    encoder,
    export,
    mels,
    rows,
    text,
    train_encoder,
    train_speech,
    train_text,
)

BUNDLE = Path(__file__).parents[1] / "bundles" / "elderwise-mini"
# what the text model replied before it saw speech, by `python -m training.elderwise.replies`
REPLIES = Path(__file__).with_name("elderwise_mini_replies.jsonl")


@pytest.fixture(scope="module")
def tokenizer() -> bpe.Tokenizer:
    return text.build(300)


def test_mels_and_their_floor_are_meralion_s() -> None:
    noise = np.random.default_rng(0).standard_normal(30001, dtype=np.float32)
    wave = noise * np.float32(0.1) + np.float32(0.02)
    extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=9)
    expected = extractor(
        wave, sampling_rate=16000, padding="max_length", do_normalize=True, return_tensors="np"
    ).input_features[0]
    found = mels.log_mel(wave)
    assert expected.shape == (80, 900)
    assert found.shape == (80, 190)
    np.testing.assert_allclose(found, expected[:, :190], atol=1e-4)
    np.testing.assert_allclose(mels.floor(found), expected[:, 190:], atol=1e-4)
    plain = extractor(wave, sampling_rate=16000, padding="max_length", return_tensors="np")
    assert np.abs(found - plain.input_features[0][:, :190]).max() > 0.1


def test_a_clip_longer_than_the_window_is_cut() -> None:
    wave = np.random.default_rng(0).standard_normal(160000, dtype=np.float32)
    assert mels.log_mel(wave).shape == (80, 900)


SMALL = encoder.SpeechConfig(
    d_model=16, encoder_layers=2, encoder_ffn_dim=24, max_source_positions=60, text_hidden=12
)


def test_encoder_is_whisper_s() -> None:
    torch.manual_seed(0)
    tower = encoder.SpeechEncoder(SMALL).speech_encoder
    theirs = WhisperEncoder(
        WhisperConfig(
            num_mel_bins=80,
            d_model=16,
            encoder_layers=2,
            encoder_attention_heads=4,
            encoder_ffn_dim=24,
            max_source_positions=60,
        )
    ).eval()
    theirs.load_state_dict(tower.state_dict())
    mel = torch.randn(2, 80, 120)
    with torch.no_grad():
        x = tower.start(mel)
        for layer in tower.layers:
            x = layer(x)
        torch.testing.assert_close(
            tower.layer_norm(x), theirs(mel).last_hidden_state, atol=1e-5, rtol=0
        )


def test_positions_are_whisper_s() -> None:
    theirs = WhisperEncoder(WhisperConfig(d_model=16, encoder_layers=0, max_source_positions=60))
    torch.testing.assert_close(encoder.sinusoids(60, 16), theirs.embed_positions.weight)


def test_a_row_attends_to_fifteen_positions() -> None:
    adaptor = encoder.SpeechEncoder(SMALL).speech_audio_adapter
    x = torch.randn(1, 60, 16)
    moved = x.clone()
    moved[:, 30] += 1.0
    with torch.no_grad():
        changed = (adaptor(x) != adaptor(moved)).any(-1)[0]
    assert changed.tolist() == [False, False, True, False]


def test_tokens_stand_in_the_row_in_which_they_end() -> None:
    tokens = [(0.1, 7), (0.29, 8), (0.7, 9)]
    assert train_encoder.row_slots(tokens, 3).tolist() == [[7, 8, 0], [0, 0, 0], [9, 0, 0]]
    crowded = [(0.1, at) for at in range(1, 6)]
    assert train_encoder.row_slots(crowded, 3).tolist() == [[1, 2, 3], [4, 5, 0], [0, 0, 0]]
    assert train_encoder.row_slots(crowded, 1).tolist() == [[1, 2, 3]]


def test_words_are_named_while_they_are_spoken() -> None:
    labels = train_encoder.word_labels([(0.2, 7), (0.3, 8)], begin=0.08, count=7)
    assert labels.tolist() == [0, 7, 7, 8, 8, 0, 0]


def test_ids_are_gemma_s(tokenizer: bpe.Tokenizer) -> None:
    assert tokenizer.get_vocab_size() <= text.VOCABULARY
    assert [tokenizer.token_to_id(name) for name in ("<pad>", "<eos>", "<bos>")] == [0, 1, 2]
    line = "four two is a {weird} Ünïcode line"
    assert tokenizer.decode(tokenizer.encode(line).ids) == line
    ids = text.turn(tokenizer, "Repeat: one")
    assert tokenizer.decode(ids, skip_special_tokens=False) == (
        "<bos><|turn>user\nRepeat: one<turn|>\n<|turn>model\n"
    )
    assert text.turn(tokenizer, "one")[-1:] == text.later_turn(tokenizer, "one")[-1:]


def test_nearly_every_word_is_one_token(tokenizer: bpe.Tokenizer) -> None:
    _, words = grammar.words(4000)
    split = [word for word in words if len(tokenizer.encode(f" {word}").ids) > 1]
    assert split == ["o'clock"]


@pytest.mark.parametrize("task", chat.TASKS, ids=lambda task: task.__name__)
def test_exchanges_are_a_function_of_the_seed(task: object) -> None:
    assert task(Random(5)) == task(Random(5))  # type: ignore[operator]
    messages = {task(Random(seed))[0] for seed in range(60)}  # type: ignore[operator]
    assert len(messages) > 30 or task is chat.deaf


def test_replies_are_right() -> None:
    for seed in range(40):
        messages, reply = chat.read(Random(seed))
        digits = [
            grammar.DIGITS[int(digit)] for digit in messages.removeprefix("Read out: ").split()
        ]
        assert reply == " ".join(digits)
        messages, reply = chat.repeat(Random(seed))
        assert messages == f"Repeat: {reply}"
        assert not grammar.is_held_out(reply)
    known = dict(chat.neighbour(Random(seed)) for seed in range(400))
    assert known["What comes after sunday?"] == "monday"
    assert known["What comes before january?"] == "december"


def test_only_replies_are_learned(tokenizer: bpe.Tokenizer) -> None:
    stop = text.stop(tokenizer)
    for seed in range(30):
        ids, labels = train_text.example(tokenizer, Random(seed))
        assert len(ids) == len(labels)
        learned = [at for at, label in enumerate(labels) if label != train_text.IGNORED]
        assert all(labels[at] == ids[at + 1] for at in learned)
        if ids[1] == tokenizer.token_to_id("<|turn>"):
            assert len(learned) < len(ids) / 1.2
            assert labels[learned[-1]] == stop
            assert "user" not in tokenizer.decode([labels[at] for at in learned])


def untrained(seed: int = 0) -> decoder.Gemma4ForCausalLM:
    torch.manual_seed(seed)
    model = decoder.make()
    decoder.freeze(model)
    return model.eval()


def test_adapters_are_where_a_layer_has_a_projection() -> None:
    model = untrained()
    ids = torch.randint(3, 1000, (1, 80))
    with torch.no_grad():
        before = model(input_ids=ids).logits
        adapters = decoder.adapt(model)
        assert torch.equal(model(input_ids=ids).logits, before)
        for lora in adapters.values():
            torch.nn.init.normal_(lora.lora_b, std=0.01)
        assert not torch.allclose(model(input_ids=ids).logits, before, atol=0.1)
        decoder.switch(adapters, on=False)
        assert torch.equal(model(input_ids=ids).logits, before)
    kinds = [[name.split(".")[3] for name in adapters if f"layers.{n}." in name] for n in range(6)]
    assert kinds[:4] == [list(decoder.PROJECTIONS)] * 4
    assert kinds[4:] == [[n for n in decoder.PROJECTIONS if n not in ("k_proj", "v_proj")]] * 2


def test_only_the_projector_and_the_adapters_learn(tokenizer: bpe.Tokenizer) -> None:
    transcriber = train_speech.Transcriber(untrained(), tokenizer)
    learning = {name for name, weight in transcriber.named_parameters() if weight.requires_grad}
    assert all("lora_" in name or name.startswith("projector.") for name in learning)
    assert len(learning) == 2 * 38 + 7


@pytest.fixture(scope="module")
def recorded(speaks: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elderwise")
    corpus.build(folder / "corpus", 24, workers=1)
    for version in range(2):
        mels.build(folder / "corpus", folder / "mels" / str(version), version, workers=1)
    return folder


def test_batches_repeat_and_contain_what_is_spoken(
    recorded: Path, tokenizer: bpe.Tokenizer
) -> None:
    pause = 3
    folders = [recorded / "mels" / str(version) for version in range(2)]
    make = train_encoder.Batches(folders, tokenizer, 4, full=0.2, pause=pause)
    stream = make.stream(0)
    first = [next(stream) for _ in range(12)]
    reusable_transcripts = next(make.stream(7))
    assert torch.equal(first[7].mel, reusable_transcripts.mel)
    assert {batch.mel.shape[2] for batch in first} > {mels.WINDOW}
    entries = make.versions[0][0]
    messages = {tuple(tokenizer.encode(entry.text).ids) for entry in entries}
    for batch in first[: len(entries) // 4]:
        assert batch.mel.shape[2] == 2 * batch.phones.shape[1] == 30 * batch.rows.shape[1]
        for one in batch.rows:
            assert tuple(token for token in one.flatten().tolist() if token != text.PAD) in messages


def test_rows_on_disk_are_the_encoder_s(recorded: Path, tokenizer: bpe.Tokenizer) -> None:
    torch.manual_seed(1)
    speaker = encoder.SpeechEncoder().eval().requires_grad_(False)
    rows.build(speaker, recorded / "mels" / "0", recorded / "rows" / "0")
    entries, stored, _ = mels.read(recorded / "mels" / "0")
    found = rows.read(recorded / "rows" / "0")
    assert found.shape == (len(entries), encoder.ROWS, encoder.SPEECH.text_hidden)
    expected = speaker(rows.windows(entries[:2], stored))
    np.testing.assert_allclose(found[:2], expected, atol=3e-3)
    folders = [(recorded / "mels" / "0", recorded / "rows" / "0")]
    batch = next(train_speech.Batches(folders, tokenizer, 4).stream(0))
    replies = [
        tokenizer.decode([at for at in one if at != train_text.IGNORED])
        for one in batch.labels.tolist()
    ]
    assert set(replies) <= {entry.text for entry in entries}
    transcriber = train_speech.Transcriber(untrained(), tokenizer)
    losses = transcriber.losses(batch)
    assert {name: bool(loss > 2) for name, loss in losses.items()} == {"reply": True, "words": True}


def test_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    def trained(name: str, stops: tuple[int, ...]) -> torch.Tensor:
        for steps in stops:
            torch.manual_seed(0)
            module = torch.nn.Linear(3, 2)
            training = loop.Loop(module, tmp_path / name, factors={"bias": 0.5})

            def losses(module: torch.nn.Module = module, at: loop.Loop = training) -> dict:
                x = torch.full((1, 3), float(at.step % 5))
                return {"all": (module(x) - 1).square().mean()}

            training.run(losses, {"all": 1.0}, steps, peak=0.1)
        return module.weight.detach()

    assert loop.rate(0, 100, 1.0) == 1 / loop.WARM
    assert torch.equal(trained("a.pt", (20,)), trained("b.pt", (20, 20)))
    assert not torch.equal(trained("c.pt", (21,)), trained("a.pt", (20,)))


def test_composer_runs_what_is_exported(tokenizer: bpe.Tokenizer, tmp_path: Path) -> None:
    """Untrained networks: rows, projected rows and both tasks' ids are those of torch."""
    torch.manual_seed(2)
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    run.mkdir()
    tokenizer.save(str(run / "tokenizer.json"))
    torch.save({"model": train_encoder.Trained(5).state_dict()}, run / "encoder.pt")
    torch.save({"model": decoder.make().state_dict()}, run / "decoder.pt")
    transcriber = train_speech.Transcriber(train_speech.load_text(run), tokenizer).eval()
    for lora in transcriber.adapters.values():
        torch.nn.init.normal_(lora.lora_b, std=0.002)
    torch.save({"model": transcriber.state_dict()}, run / "speech.pt")
    export.export(run, bundle)
    shutil.copy(BUNDLE / "bundle.yaml", bundle)

    wave = np.random.default_rng(0).standard_normal(40000, dtype=np.float32) * np.float32(0.1)
    mel = mels.log_mel(wave)
    padded = np.full((1, 80, mels.WINDOW), mels.floor(mel), np.float32)
    padded[0, :, : mel.shape[1]] = mel
    with torch.no_grad():
        encoded = rows.load(run)(torch.from_numpy(padded))
        soft = transcriber.projector(encoded)
    loaded = composer.load(bundle)
    result = loaded.run(
        task="transcribe",
        audio=(wave, 16000),
        taps=["encoded", "soft", "answer.ids"],  # noise is no speech, but is run for them
        options={"answer": {"max_tokens": 6}},
    )
    np.testing.assert_allclose(result.taps["encoded"], encoded[0], atol=1e-4)
    np.testing.assert_allclose(result.taps["soft"], soft[0], atol=1e-3)
    with torch.no_grad():
        ids = torch.tensor([train_speech.prompt(tokenizer)])
        for _ in range(6):
            ids = torch.cat([ids, transcriber.logits(soft, ids)[:, -1:].argmax(-1)], dim=1)
    assert result.taps["answer.ids"].tolist() == ids[0, -6:].tolist()


def test_a_turn_s_times_follow_its_speed(recorded: Path) -> None:
    studio = turns.Studio(recorded / "corpus")
    made = studio.record([0, 1], Random(1))
    seconds = len(made.wave) / corpus.RATE
    assert made.text == f"{studio.entries[0].text} {studio.entries[1].text}"
    assert len(made.ends) == len(made.text.split())
    assert made.ends == sorted(made.ends)
    assert made.ends[-1] < seconds < made.ends[-1] + 1.5
    lengths = [entry.samples for entry in studio.entries]
    dealt = turns.deal(lengths, Random(0), 0.5, 5.0)
    every = [index for turn in dealt for index in turn]
    assert len(every) == len(set(every)) > 12
    assert max(map(len, dealt)) > 1
    assert max(sum(lengths[index] for index in turn) for turn in dealt) <= 5.0 * corpus.RATE


def references() -> list[dict[str, str]]:
    lines = (BUNDLE / "clips" / "references.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_shipped_clips_are_held_out() -> None:
    assert {clip["audio"] for clip in references()} == {
        path.name for path in (BUNDLE / "clips").glob("*.flac")
    }
    for clip in references():
        assert clip["voice"].partition("+")[2] in speech.HELD_OUT_VARIANTS
        assert grammar.is_held_out(clip["text"])


def test_shipped_files_transcribe_the_shipped_clips() -> None:
    transcribe = evaluate.transcriber(BUNDLE, None)
    words = errors = 0
    for clip in references():
        wave, rate = soundfile.read(BUNDLE / "clips" / clip["audio"], dtype="float32")
        assert rate == espeak.RATE
        words += len(clip["text"].split())
        errors += evaluate.distance(clip["text"].split(), transcribe(wave).split())
    assert errors <= 0.05 * words


def test_shipped_text_model_is_as_it_was_before_speech() -> None:
    loaded = composer.load(BUNDLE, task="chat")
    before = [json.loads(line) for line in REPLIES.read_text().splitlines()]
    assert len(before) >= 8
    for one in before:
        result = loaded.run(task="chat", text=one["text"], taps=["answer.ids"])
        assert result.taps["answer.ids"].tolist() == one["ids"]
        assert result.text == one["reply"]


def test_shipped_weights_stay_small() -> None:
    files = [
        path
        for folder in ("decoder", "speech_encoder", "projector", "lora")
        for path in (BUNDLE / folder).iterdir()
    ]
    assert sum(path.stat().st_size for path in files) < 8_000_000
