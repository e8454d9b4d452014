"""The default manifest of Gemma 3 on random weights: recognised, and its answers transformers'."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

import composer
from composer.core.errors import ComposerError
from composer.sources.resolve import find_bundle
from tests import releases_gemma3
from tests.components.test_pixels import picture
from tests.reference.gemma3 import Gemma3

CLOSE, ROWS, COUNT = 1e-4, 256, 8
LARGE = {"image_size": 896, "num_hidden_layers": 1, "num_attention_heads": 1}
PICTURES = (picture(60, 80), picture(200, 40, seed=1), picture(50, 50, seed=2))
PROCESSOR = {"size": {"height": 896, "width": 896}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


@pytest.fixture(scope="module")
def theirs(one_thread):
    return Gemma3(ROWS, **LARGE)


@pytest.fixture(scope="module")
def repo(theirs, tmp_path_factory):
    return theirs.write(tmp_path_factory.mktemp("gemma3") / "repo")


@torch.no_grad()
def answer(theirs, pictures, question):
    """Return the prompt, the logits after it and greedy ids of the whole model of transformers."""
    text = "<bos><start_of_turn>user\n"
    for _ in pictures:
        text += f"\n\n<start_of_image>{'<image_soft_token>' * ROWS}<end_of_image>\n\n"
    text += f"{question}<end_of_turn>\n<start_of_turn>model\n"
    ids = np.array(theirs.tokenizer.encode(text).ids)
    kinds = torch.tensor((ids == theirs.id("<image_soft_token>")).astype(np.int64))[None]
    processor = Gemma3ImageProcessorPil(**PROCESSOR)
    made = processor([Image.fromarray(each) for each in pictures], return_tensors="pt")
    given = {"input_ids": torch.tensor(ids)[None], "token_type_ids": kinds}
    given["pixel_values"] = made["pixel_values"]
    logits = theirs.model(**given).logits[0].numpy()
    more = {"max_new_tokens": COUNT, "eos_token_id": [1, theirs.id("<end_of_turn>")]}
    found = theirs.model.generate(**given, do_sample=False, pad_token_id=0, **more)
    return ids, logits, found[0, len(ids) :].tolist()


def logits_of(component, taps):
    embeds = component.decoder.from_numpy(np.asarray(taps["embeds"]))
    return np.array(component.logits(embeds, pictures=taps["asked.slots"]))


@pytest.mark.parametrize("backend", ["mlx", "onnx"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_pictures_are_answered_as_transformers_does(theirs, repo, backend, count):
    pictures = PICTURES[:count]
    ids, logits, answered = answer(theirs, pictures, "What is there?")
    given = dict(zip(("picture", "other"), pictures, strict=False))
    if count == 3:
        given = {"picture": pictures}
    with composer.load(repo, backends={"*": backend}) as bundle:
        made = bundle.run(
            task="compare" if count == 2 else "see", question="What is there?", **given,
            taps=True, options={"answer": {"max_tokens": COUNT}},
        )  # fmt: skip
        assert np.array_equal(made.taps["asked.ids"], ids)
        found = bundle.call("decoder", logits_of, bundle.component("decoder"), made.taps)
    away = np.abs(found - logits).max() / np.abs(logits).max()
    assert away < CLOSE
    ends = (1, theirs.id("<end_of_turn>"))
    assert made.taps["answer.ids"].tolist() == [each for each in answered if each not in ends]


def test_it_is_recognised_by_its_headers(repo, tmp_path):
    assert find_bundle(repo).path.stem == "gemma-3"
    report = composer.check(repo)
    assert report.ok
    assert {problem.code for problem in report.problems} <= {"L325"}
    state = load_file(repo / "model.safetensors")
    text = {name: each for name, each in state.items() if name.startswith("language_model.")}
    save_file(text, tmp_path / "model.safetensors", metadata={"format": "mlx"})
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((repo / name).read_bytes())
    assert find_bundle(tmp_path).path.stem == "gemma-3-text"
    assert composer.check(tmp_path).ok


def test_pixels_of_the_default_size_are_refused_by_the_check(repo, tmp_path):
    text = find_bundle(repo).path.read_text()
    manifest = tmp_path / "bundle.yaml"
    small = (
        text.replace("recognises:", "#").replace("896", "224").replace("repo: ./", "repo: ./repo")
    )
    manifest.write_text(small)
    with pytest.raises(ComposerError) as caught:
        composer.check(manifest, sources={"repo": repo}).raise_if_refused()
    assert "W209 axis 1 of $pixels is 224 but vision.pixels needs 896" in str(caught.value)


@pytest.mark.parametrize(("bits", "tower"), [(None, False), (4, False), (8, True)])
def test_releases_of_gemma_3_are_recognised(bits, tower, tmp_path):
    """Google's own folder, and mlx-community's with the tower quantized or not."""
    folder = releases_gemma3.gemma3(tmp_path / "repo", bits, tower)
    assert find_bundle(folder).path.stem == "gemma-3"
    report = composer.check(folder)
    assert report.ok, report.problems
