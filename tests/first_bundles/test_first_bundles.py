"""Bundles that were written from the documentation alone, against torch and transformers."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch.nn import functional as F
from transformers import Wav2Vec2FeatureExtractor
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

import composer
from mirror import Repository
from tests.cookbook.test_cookbook import answer, linear
from tests.first_bundles.conftest import HERE
from tests.first_bundles.making import HEAD, KERNEL, TABLE, WEIGHT
from tests.sources.conftest import hub, hub_home

__all__ = ["hub", "hub_home"]
Image = pytest.importorskip("PIL.Image")
CLIP = np.random.default_rng(0).standard_normal(14_000).astype(np.float32) / 8
SOUND = (CLIP, 16_000)
PICTURE = np.random.default_rng(1).integers(0, 255, (40, 50, 3), dtype=np.uint8)
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def close(found, expected, atol=1e-4):
    np.testing.assert_allclose(found, np.asarray(expected), atol=atol, rtol=1e-4)


def test_the_ids_of_a_ctc_head(opened):
    with opened("ctc") as bundle:
        result = bundle.run(audio=SOUND, taps=["mel"])
    expected = (result.taps["mel"].T @ WEIGHT).argmax(-1)
    np.testing.assert_array_equal(result.outputs["ids"], expected)
    assert len(set(expected.tolist())) > 3


def test_a_speaker_is_the_mean_of_all_rows(opened):
    head = {name: torch.tensor(value) for name, value in HEAD.items()}
    with opened("speaker") as bundle:
        for count in (4_000, 14_000):
            result = bundle.run(audio=(CLIP[:count], 16_000), taps=["mel"])
            rows = torch.tensor(result.taps["mel"].T @ WEIGHT)
            pooled = linear(rows.mean(0, keepdim=True), head, "0")
            close(result.outputs["embedding"], F.rms_norm(pooled, (24,), head["1.weight"], 1e-5))


def ids_of(folder, text):
    return Tokenizer.from_file(str(folder / "llama" / "tokenizer.json")).encode(text).ids


def speech_rows(parts, mel):
    """Return the rows of speech, as torch makes them."""
    frames = parts["encoder"](torch.tensor(mel)[None])[0]
    hidden = linear(frames.reshape(-1, 5 * frames.shape[1]), parts["projector"], "1")
    return linear(hidden.relu(), parts["projector"], "3")


def joined(folder, parts, *pieces):
    """Return embeddings of texts and rows, one after the other."""
    table = parts["llama"].get_input_embeddings()
    rows = []
    for piece in pieces:
        if isinstance(piece, str):
            piece = table(torch.tensor(ids_of(folder, piece), dtype=torch.long))
        rows.append(piece)
    return torch.cat(rows)[:, :]


@torch.no_grad()
@pytest.mark.parametrize(
    ("task", "given", "text"),
    [
        ("transcribe", {}, " Transcribe: "),
        ("translate", {}, " Translate into German: "),
        ("translate", {"language": "French"}, " Translate into French: "),
    ],
)
def test_two_tasks_share_an_encoder(opened, models, task, given, text):
    folder, parts = models
    with opened("tasks") as bundle:
        result = bundle.run(task=task, audio=SOUND, taps=["mel", "embeds"], **given)
    embeds = joined(folder, parts, speech_rows(parts, result.taps["mel"]), text)
    close(result.taps["embeds"], embeds)
    assert result.outputs["ids"].tolist() == answer(parts["llama"], embeds)[:8]


@torch.no_grad()
def test_a_text_is_found_by_its_last_hidden_row(opened, models):
    folder, parts = models
    with opened("retrieval") as bundle:
        found = bundle.run(text="What is it?").outputs["embedding"]
    ids = torch.tensor([ids_of(folder, "What is it?<end>")])
    hidden = parts["llama"].model(input_ids=ids).last_hidden_state[0]
    close(found, hidden[-1:])
    assert np.abs(found - hidden[-2:-1].numpy()).max() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("given", ["array", "file", "image"])
def test_a_picture_and_speech(opened, models, tmp_path, given):
    folder, parts = models
    picture = {"array": PICTURE, "image": Image.fromarray(PICTURE)}.get(given)
    if given == "file":
        picture = tmp_path / "picture.png"
        Image.fromarray(PICTURE).save(picture)
    with opened("picture") as bundle:
        result = bundle.run(audio=SOUND, picture=picture, taps=["mel", "pixels"])
    processor = SiglipImageProcessorPil(size={"height": 16, "width": 16})
    pixels = processor(PICTURE, return_tensors="pt")["pixel_values"]
    close(result.taps["pixels"], pixels[0], 1e-6)
    model = parts["llava"].model
    patches = model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][0, 1:]
    seen, speech = model.multi_modal_projector(patches), speech_rows(parts, result.taps["mel"])
    embeds = joined(folder, parts, "Look: ", seen, "\nListen: ", speech, "\nWhat? Answer:")
    assert result.outputs["ids"].tolist() == answer(parts["llama"], embeds)[:8]


def continued(parts, ids):
    """Return what transformers continues ids with."""
    made = parts["llama"].generate(
        input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=6, do_sample=False,
    )  # fmt: skip
    return made[0, len(ids) :].tolist()


@torch.no_grad()
def test_a_conversation_with_a_system_prompt(opened, models):
    folder, parts = models
    history, ids = [], []
    with opened("talker") as bundle:
        for turn, text in enumerate(("hi", "why?")):
            begin = "<end>" if turn else "system\nBe brief.<end>"
            ids += ids_of(folder, f"{begin}user\n{text}<end>assistant\n")
            with bundle.stream(text=text, system="Be brief.", history=history) as stream:
                pieces = "".join(stream)
            expected = continued(parts, ids)
            ids += [each for each in expected if each != 1]
            history = stream.result.outputs["history"]
            assert history.tolist() == ids
            assert pieces == stream.result.text


def test_samples_at_48_kilohertz(opened):
    sound = np.random.default_rng(2).standard_normal(24_000).astype(np.float32) / 8
    with opened("wave") as bundle:
        found = bundle.run(audio=(sound, 48_000)).outputs["rows"]
        other = bundle.run(audio=SOUND, taps=["wave"])
    expected = F.conv1d(torch.tensor(sound)[None, None], torch.tensor(KERNEL), stride=480)
    close(found, expected[0].T)
    assert len(other.taps["wave"]) == 3 * len(CLIP)


def test_samples_as_wav2vec_takes_them(opened):
    with opened("wave", ("rate: 48000", "rate: 16000, normalize: true")) as bundle:
        found = bundle.run(audio=(3 * CLIP + 0.1, 16_000), taps=["wave"]).taps["wave"]
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    expected = extractor(3 * CLIP + 0.1, sampling_rate=16_000, return_tensors="np")["input_values"]
    close(found, expected[0], 1e-5)
    assert np.abs(found - 3 * CLIP).max() > 0.1


def test_whole_numbers(opened):
    with opened("table") as bundle:
        for ids in ([3, 1, 2], np.array([3, 1, 2]), np.array([3, 1, 2], np.uint8)):
            np.testing.assert_array_equal(bundle.run(ids=ids).outputs["rows"], TABLE[[3, 1, 2]])
        for wrong, message in (
            ([1.5], "R542 'ids' needs 'i32 T', not f64 [1]"),
            ([2**40], f"R542 'ids' needs 'i32 T', which cannot hold {2**40}"),
            ([2**40, 1], f"R542 'ids' needs 'i32 T', which cannot hold 1 to {2**40}"),
            ([[1]], "R542 'ids' needs 'i32 T', not i64 [1, 1]"),
        ):
            with pytest.raises(composer.ComposerError) as caught:
                bundle.run(ids=wrong)
            assert str(caught.value).splitlines()[0] == message


def test_a_number_of_frames_is_filled(opened):
    with opened("counted") as bundle:
        result = bundle.run(audio=SOUND, taps=["mel"])
    assert result.outputs["count"] == len(CLIP) // 160
    assert result.taps["mel"].shape == (80, 100)
    close(result.outputs["rows"], result.taps["mel"].T @ WEIGHT)


def test_two_repositories_each_at_a_revision(hub, models, tmp_path):
    folder, _ = models
    ctc, table = ((folder / f"{name}.onnx").read_bytes() for name in ("ctc", "table"))
    speech, text = Repository({"ctc.onnx": ctc}), Repository({"onnx/table.onnx": table})
    speech.push({"ctc.onnx": ctc}, ref="v1")
    text.push({"onnx/table.onnx": table}, ref="v2")
    speech.push({"ctc.onnx": b"later"})
    text.push({"README.md": b"moved"})
    hub({"ann/speech": speech, "bob/text": text})
    path = tmp_path / "bundle.yaml"
    path.write_text((HERE / "two_repositories.yaml").read_text())
    assert composer.check(path).problems == ()
    with composer.load(path, trust=True) as bundle:
        result = bundle.run(audio=SOUND, taps=["mel"])
    ids = (result.taps["mel"].T @ WEIGHT).argmax(-1)
    np.testing.assert_array_equal(result.outputs["rows"], TABLE[ids])
    path.write_text(path.read_text().replace("@v2", ""))
    (problem,) = composer.check(path).problems
    assert str(problem).split(": ", 1)[1] == (
        "S401 text/onnx/table.onnx does not exist\n    text contains README.md"
    )
