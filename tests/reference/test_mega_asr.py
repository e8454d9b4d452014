"""Mega-ASR as it is published: its router switches its adapter, against transformers merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import composer
from composer import Bundle
from composer.cli import main
from tests.reference.mega_lora import adapt, make_lora, save_lora
from tests.reference.mega_router import make_router, save_router
from tests.reference.qwen3_asr import RATE, TOKENS, Reference, make_clip, make_model, make_tokenizer
from tests.reference.test_qwen3_asr_released import release, released_name

SHIPPED = "mega-asr-1-7b"
ROUTER = "audio_quality_router/best_acc_model.safetensors"


class Release:
    """A small release, its base in transformers, and its base with the adapter merged into it."""

    def __init__(self, repo: Path) -> None:
        self.repo, base, tokenizer = repo, repo / "Qwen3-ASR-1.7B", make_tokenizer()
        repo.mkdir(exist_ok=True)
        model, merged = make_model(tokenizer), make_model(tokenizer)
        release(base, model, tokenizer)
        state = load_file(base / "model.safetensors")
        lora = make_lora(state)
        save_lora(*lora, repo / "mega-asr-merged")
        (repo / ROUTER).parent.mkdir()
        save_router(make_router(), repo / ROUTER)
        changed = adapt(state, *lora)
        own = merged.state_dict()
        for name, value in own.items():
            if released_name(name) in changed:
                value.copy_(torch.from_numpy(changed[released_name(name)]))
        self.references = {False: Reference(tokenizer, model), True: Reference(tokenizer, merged)}

    def load(self, **options: Any) -> Bundle:
        return composer.load(SHIPPED, sources={"repo": self.repo}, **options)


@pytest.fixture(scope="module")
def published(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Release:
    return Release(tmp_path_factory.mktemp("mega"))


@pytest.fixture(scope="module")
def bundle(published: Release) -> Bundle:
    return published.load()


def run(bundle: Bundle, seconds: float, **given: Any) -> Any:
    options = {"answer": {"max_tokens": TOKENS}}
    return bundle.run(audio=(make_clip(seconds), RATE), taps=True, options=options, **given).taps


@pytest.mark.parametrize("degraded", [False, True])
@pytest.mark.parametrize("backend", ["onnx", "mlx"])
def test_every_stage_is_that_of_transformers(
    published: Release, degraded: bool, backend: str
) -> None:
    bundle = published.load(backends={"*": backend})
    reference = published.references[degraded]
    want = reference.stages(make_clip(3.375))
    found = run(bundle, 3.375, feed={"route.degraded": np.array([degraded])})
    np.testing.assert_allclose(np.asarray(found["soft"]), want.rows, rtol=0, atol=1e-4)
    ends = reference.model.config.eos_token_id
    assert found["answer.ids"].tolist() == [token for token in want.answer if token not in ends]
    other = published.references[not degraded].stages(make_clip(3.375)).rows
    assert np.abs(np.asarray(found["soft"]) - other).max() > 1e-2


def test_each_clip_goes_by_its_own_score(bundle: Bundle) -> None:
    clips = [{"audio": (np.float32(0.1**n) * make_clip(0.5 + n / 10), RATE)} for n in range(4)]
    taps = ["route.score", "route.degraded", "soft"]
    options = {"answer": {"max_tokens": 4}}
    alone = [bundle.run(**clip, taps=taps, options=options) for clip in clips]
    scores = [each.taps["route.score"].item() for each in alone]
    for clip, one, score in zip(clips, alone, scores, strict=True):
        assert one.taps["route.degraded"].tolist() == [score >= 0.5]
        fed = {"route.degraded": np.array([score >= 0.5])}
        same = bundle.run(**clip, taps=taps, options=options, feed=fed)
        assert np.array_equal(same.taps["soft"], one.taps["soft"])
    together = list(bundle.map(clips, options=options))
    assert [each.text for each in together] == [each.text for each in alone]


def test_a_switch_is_checked(published: Release, tmp_path: Path) -> None:
    text = Path("bundles/mega-asr-1-7b.yaml").read_text()
    whole = "adapters: [mega], when: $route.degraded"

    def codes(before: str = "", after: str = "") -> list[str]:
        assert before in text
        path = tmp_path / "bundle.yaml"
        path.write_text(text.replace(before, after) if before else text)
        found = composer.check(path, sources={"repo": published.repo})
        return [problem.code for problem in found.problems]

    assert not any(code.startswith("W") for code in codes())
    assert "W298" in codes(whole, "when: $route.degraded")
    assert "W298" in codes(whole, "adapters: [], when: $route.degraded")
    assert "W211" in codes(whole, "adapters: [mega], when: $route.score")
    assert "W205" in codes(whole, "adapters: [mega], when: true")
    idle = "mel:    {run: features,         with: {audio: $audio"
    assert "W203" in codes(idle, f"{idle}, when: $route.degraded")


def test_show_and_explain_name_the_switch(published: Release, capsys: Any) -> None:
    assert main(["show", SHIPPED, "--source", f"repo={published.repo}"]) == 0
    assert "when" in capsys.readouterr().out
    assert main(["explain", "onnx.lm.generate"]) == 0
    assert "when: bool 1 (may be left out)" in capsys.readouterr().out
