"""Every default manifest on a twin of its repository: recognised, checked, run, locked, offline."""

import hashlib
import json

import numpy as np
import pytest

import composer
from composer.cli import main
from composer.formats import gguf
from composer.sources.default_manifests import default_manifests
from composer.sources.hub import ranges
from composer.sources.resolve import find_bundle
from mirror import Mirror
from tests.components.test_pixels import picture
from tests.reference import forced_aligner
from tests.reference.gemma3 import Gemma3
from tests.reference.gemma3_speech import Gemma3Speech
from tests.reference.gemma4_vision import Gemma4Vision
from tests.reference.qwen3_asr import RATE, make_clip, make_model, make_tokenizer
from tests.sources import checkpoints

pytestmark = pytest.mark.usefixtures("one_thread")
SIGLIP = {"image_size": 896, "num_hidden_layers": 1, "num_attention_heads": 1}


def gemma3(folder):
    Gemma3(256, **SIGLIP).write(folder)


def gemma3_text(folder):
    Gemma3().write(folder)
    checkpoints.keep_tensors(folder, lambda name: name.startswith("language_model."))


def gemma4(folder):
    Gemma4Vision("31b", patch_size=16).write(folder)
    checkpoints.keep_tensors(folder, lambda name: name.startswith("language_model."))


def qwen3_asr(folder):
    tokenizer = make_tokenizer()
    checkpoints.qwen3_asr(folder, make_model(tokenizer), tokenizer)


def onnx_lm_4bit(folder):
    checkpoints.onnx_lm(folder)
    checkpoints.keep_graphs(folder, ["model_q4.onnx"])


def onnx_lm_float(folder):
    checkpoints.onnx_lm(folder)
    checkpoints.keep_graphs(folder, ["model.onnx", "model.onnx_data"])


TWINS = {
    "gemma-3": gemma3,
    "gemma-3-speech": lambda folder: Gemma3Speech().write(folder),
    "gemma-3-text": gemma3_text,
    "gemma-4": gemma4,
    "gemma-4-gguf": lambda folder: checkpoints.gemma4_gguf(folder, "e2b", encoders=False),
    "gemma-4-gguf-large": lambda folder: checkpoints.gemma4_gguf(folder, "31b", encoders=False),
    "gemma-4-gguf-speech": lambda folder: checkpoints.gemma4_gguf(folder, "e2b"),
    "gemma-4-gguf-vision": lambda folder: checkpoints.gemma4_gguf(folder, "31b"),
    "gemma-4-speech": lambda folder: Gemma4Vision("e2b", audio=True, patch_size=16).write(folder),
    "gemma-4-vision": lambda folder: Gemma4Vision("31b", patch_size=16).write(folder),
    "gguf": checkpoints.qwen3_gguf,
    "lm": checkpoints.lm,
    "onnx-gemma-4": checkpoints.onnx_gemma4,
    "onnx-gemma-4-speech": checkpoints.onnx_gemma4_speech,
    "onnx-genai": checkpoints.onnx_genai,
    "onnx-lm": checkpoints.onnx_lm,
    "onnx-lm-4bit": onnx_lm_4bit,
    "onnx-lm-float": onnx_lm_float,
    "qwen3-asr": qwen3_asr,
    "qwen3-asr-gguf": checkpoints.qwen3_asr_gguf,
    "qwen3-forced-aligner": lambda folder: forced_aligner.release(folder, forced_aligner.Aligner()),
}
SHORT = ("lm", "qwen3-forced-aligner")
GIVEN = {
    "text": "the names",
    "audio": (make_clip(1.0), RATE),
    "transcript": "the names of the speakers",
    "picture": picture(60, 80),
    "other": picture(80, 60, seed=1),
}
WEIGHTS = (".safetensors", ".gguf", ".onnx", ".onnx_data", ".data")


def weights_of(files):
    """Return the names of files with weights; graphs with theirs beside them are headers alone."""
    names = [name for name in files if name.endswith(WEIGHTS)]
    return [name for name in names if not {f"{name}_data", f"{name}.data"} & {*names}]


def outputs(name, family):
    """Return what every task of a family gives."""
    found = {}
    with composer.load(name) as bundle:
        for task in default_manifests()[family].tasks.values():
            given = {key: GIVEN[key] for key, one in task.inputs.items() if one.default is None}
            options = {"answer": {"max_tokens": 4}} if "answer" in task.graph else {}
            made = bundle.run(task=task.name, options=options, **given).outputs
            found |= {f"{task.name} {key}": each for key, each in made.items()}
    return found


def locked_files(lock):
    """Return the sha256 of every file of a lock's sources."""
    found = {}
    for source in json.loads(lock.read_text())["sources"].values():
        found |= {name: each["sha256"] for name, each in source["files"].items()}
    return found


def same(found, want):
    return found.keys() == want.keys() and all(np.array_equal(found[n], want[n]) for n in want)


def test_every_family_has_a_twin():
    assert [*TWINS] == sorted(default_manifests())


@pytest.mark.parametrize(
    "family",
    [name if name in SHORT else pytest.param(name, marks=pytest.mark.slow) for name in TWINS],
)
def test_its_twin_is_recognised_checked_run_locked_and_run_offline(
    family, hub_home, new_process, monkeypatch, tmp_path
):
    folder = tmp_path / "repo"
    TWINS[family](folder)
    files = checkpoints.files_of(folder)
    weights, id = weights_of(files), f"ann/{family}"
    assert weights
    # Headers are read in pieces as large as these files.
    monkeypatch.setattr(ranges, "AHEAD", ranges.BLOCK)
    monkeypatch.setattr(gguf._Reader, "PIECE", ranges.BLOCK)
    with Mirror({id: files}) as mirror:
        monkeypatch.setenv("HF_ENDPOINT", mirror.url)
        assert find_bundle(id).path.stem == family
        assert composer.check(id).ok
        for name in weights:
            assert sum(each.sent for each in mirror.requests_of(name)) < len(files[name])
            assert not [*hub_home.glob(f"hub/models--*/snapshots/*/{name}")]
        answered = outputs(id, family)
        assert all(each for name, each in answered.items() if name.endswith(" text"))
        assert same(answered, outputs(folder, family))
        mine = tmp_path / "mine"
        assert main(["new", str(mine), "--from", id]) == 0
        assert main(["lock", str(mine)]) == 0
        for variant in default_manifests()[family].variants:
            assert main(["pull", str(mine), "--variant", variant]) == 0
    locked = locked_files(mine / "bundle.lock")
    used = [name for name in weights if name in locked]
    assert used
    assert all(locked[name] == hashlib.sha256(files[name]).hexdigest() for name in used)
    new_process(offline=True)
    assert main(["verify", str(mine)]) == 0
    assert same(outputs(mine, family), answered)
    assert same(outputs(id, family), answered)
