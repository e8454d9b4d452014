"""Qwen3-ForcedAligner's release, stage by stage, against transformers."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import composer
from composer import Bundle, ComposerError
from tests.reference.forced_aligner import Aligner, Stages, release
from tests.reference.qwen3_asr import RATE, make_clip

SHIPPED = "qwen3-forced-aligner-0-6b"
DEFAULT = "qwen3-forced-aligner"
CLOSE = 1e-4
CASES = {
    0.35: "Hello",
    3.375: 'He said: "the names", don\'t - you?',
    8.01: "它是 the audio 语言 in 3 rooms.",
    17.5: "the names of the speakers are in the context, and what they say is in the audio " * 3,
}


class Pair:
    """The shipped bundle over a small release, and the model that it was made of."""

    def __init__(self, folder: Path) -> None:
        self.aligner = Aligner()
        self.repo = release(folder / "release", self.aligner)
        self.bundle = cache(self._load)
        self.want = cache(self._want)

    def _load(self, variant: str | None = None) -> Bundle:
        return composer.load(SHIPPED, variant=variant, sources={"repo": self.repo})

    def _want(self, seconds: float) -> Stages:
        return self.aligner.stages(make_clip(seconds), CASES[seconds])


@pytest.fixture(scope="module")
def pair(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("aligner"))


def close(found: np.ndarray, want: np.ndarray) -> bool:
    assert found.shape == want.shape
    return bool(np.abs(found - want).max() <= CLOSE * max(1.0, float(np.abs(want).max())))


@pytest.mark.parametrize("variant", [None, "mlx"])
@pytest.mark.parametrize("seconds", CASES)
def test_every_stage_is_that_of_transformers(
    pair: Pair, seconds: float, variant: str | None
) -> None:
    want, text = pair.want(seconds), CASES[seconds]
    found = pair.bundle(variant).run(audio=(make_clip(seconds), RATE), transcript=text, taps=True)
    taps = {name: np.asarray(value) for name, value in found.taps.items()}
    assert taps["asked.ids"].tolist() == want.ids.tolist()
    marks = want.ids == pair.aligner.mark
    assert taps["asked.marks"].tolist() == marks.tolist()
    assert close(taps["soft"], want.rows)
    assert taps["hidden"].dtype == np.float32
    assert close(taps["hidden"], want.hidden)
    assert close(taps["logits"], want.logits[marks])
    words = []
    for (first, last), start, end in zip(
        found.outputs["spans"], found.outputs["start"], found.outputs["end"], strict=True
    ):
        words.append((text[first:last], round(float(start), 3), round(float(end), 3)))
    assert [each[1:] for each in words] == [(w["start_time"], w["end_time"]) for w in want.words]
    assert "".join("".join(word.split()) for word, *_ in words) == "".join(text.split())


def test_probabilities_are_those_of_the_softmax(pair: Pair) -> None:
    want = pair.want(3.375)
    found = pair.bundle().run(audio=(make_clip(3.375), RATE), transcript=CASES[3.375])
    shares = torch.softmax(torch.tensor(want.logits[want.ids == pair.aligner.mark]), -1)
    lowest = shares.max(-1).values.reshape(-1, 2).min(-1).values.numpy()
    np.testing.assert_allclose(found.outputs["probability"], lowest, rtol=0, atol=CLOSE)


def test_a_random_network_is_repaired(pair: Pair) -> None:
    """Without the repair other times come out, so that the comparison above sees it."""
    want = pair.want(17.5)
    raw = want.logits[want.ids == pair.aligner.mark].argmax(-1) * 0.08
    found = pair.bundle().run(audio=(make_clip(17.5), RATE), transcript=CASES[17.5])
    moved = np.abs(raw.reshape(-1, 2) - np.stack([found.outputs["start"], found.outputs["end"]], 1))
    assert found.outputs["repaired"].tolist() == (moved.max(1) > 1e-6).tolist()
    assert 0 < found.outputs["repaired"].sum() < len(found.outputs["repaired"])
    assert (np.diff(found.outputs["start"]) >= 0).all()


def changed(pair: Pair, folder: Path, **graph: dict[str, object]) -> Bundle:
    manifest = yaml.safe_load((composer_bundles() / "defaults" / f"{DEFAULT}.yaml").read_text())
    manifest["components"].update(graph.pop("components", {}))
    manifest["graph"].update(graph)
    manifest.pop("recognises")
    folder.mkdir(exist_ok=True)
    (folder / "bundle.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    return composer.load(folder, sources={"repo": pair.repo})


def composer_bundles() -> Path:
    from composer.sources.shipped import shipped_folder

    return Path(str(shipped_folder("bundles")))


@pytest.mark.parametrize("mistake", ["position", "order", "class", "layer"])
def test_a_mistake_gives_other_times(pair: Pair, tmp_path: Path, mistake: str) -> None:
    seconds, text = 8.01, CASES[8.01]
    want = [(word["start_time"], word["end_time"]) for word in pair.want(seconds).words]
    bundle, given = pair.bundle(), text
    if mistake == "position":  # the row before each mark
        clip = (make_clip(seconds), RATE)
        marks = np.asarray(bundle.run(audio=clip, transcript=text, taps=True).taps["asked.marks"])
        found = bundle.run(audio=clip, transcript=text, feed={"asked.marks": np.roll(marks, -1)})
    elif mistake == "order":
        given = " ".join(reversed(text.split()))
        found = bundle.run(audio=(make_clip(seconds), RATE), transcript=given)
    elif mistake == "class":
        times = {"use": "text.word_times", "config": {"resolution": 0.1}}
        bundle = changed(pair, tmp_path / "class", components={"times": times})
        found = bundle.run(audio=(make_clip(seconds), RATE), transcript=text)
    else:  # rows that no layer has seen
        marked = {"run": "keep", "with": {"x": "$embeds", "at": "$asked.marks"}}
        bundle = changed(pair, tmp_path / "layer", marked=marked)
        found = bundle.run(audio=(make_clip(seconds), RATE), transcript=text)
    times_found = zip(found.outputs["start"], found.outputs["end"], strict=True)
    assert [(round(float(a), 3), round(float(b), 3)) for a, b in times_found] != want


def test_a_folder_is_recognised(pair: Pair) -> None:
    from composer.sources.resolve import find_bundle

    assert find_bundle(pair.repo).path.stem == DEFAULT
    report = composer.check(pair.repo)
    assert report.ok
    assert [problem.code for problem in report.problems] == ["L325"]
    want = pair.want(3.375)
    found = composer.load(pair.repo).run(
        audio=(make_clip(3.375), RATE), transcript=CASES[3.375], language="English"
    )
    assert found.outputs["start"].round(3).tolist() == [w["start_time"] for w in want.words]


def test_a_head_of_another_width_is_refused(pair: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    shutil.copytree(pair.repo, folder)
    state = load_file(folder / "model.safetensors")
    state["thinker.lm_head.weight"] = state["thinker.lm_head.weight"][:, :64].contiguous()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    problems = composer.check(folder).problems
    assert "W209" in [problem.code for problem in problems]


def test_a_decoder_without_a_head_has_no_logits(pair: Pair, tmp_path: Path) -> None:
    logits = {"run": "decoder.logits", "with": {"embeds": "$embeds"}}
    with pytest.raises(ComposerError) as caught:
        changed(pair, tmp_path / "logits", logits=logits)
    message = str(caught.value)
    assert "'logits'" in message
    assert "config.head is false, so that it has no logits" in message


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"transcript": "..."}, "R554 the text has no word to align: no letter and no number"),
        ({"transcript": "これ"}, "R554 words in the script of 'こ' are those of Japanese"),
        ({"transcript": "a", "language": "Thai"}, "R527 'Thai' is not aligned by this"),
    ],
)
def test_refuses_what_it_cannot_align(pair: Pair, given: dict[str, str], text: str) -> None:
    with pytest.raises(ComposerError) as caught:
        pair.bundle().run(audio=(make_clip(3.375), RATE), **given)
    assert text in str(caught.value)
