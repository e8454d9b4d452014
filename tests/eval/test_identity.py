import hashlib

import pytest

from composer.bundle import Bundle
from composer.checker import check
from composer.eval import identity as module
from composer.eval.identity import digest_of, identity, versions
from composer.profile import Profile


def test_the_miniature():
    checked = check("mega-asr-mini").raise_if_refused()
    with Bundle(checked, Profile()) as bundle:
        found = identity(bundle, "default")
    folder = checked.manifest.folder
    assert (found["name"], found["variant"]) == ("mega-asr-mini", None)
    assert list(found["files"]) == [
        "repo/mlx/llm-mixed8_4/config.json", "repo/mlx/llm-mixed8_4/model.safetensors",
        "repo/mlx/llm-mixed8_4/model.safetensors.index.json", "repo/onnx/audio_encoder_fp32.onnx",
        "repo/tokenizer/tokenizer.json",
    ]  # fmt: skip
    for name, digest in found["files"].items():
        data = (folder / name.removeprefix("repo/")).read_bytes()
        assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    data = checked.manifest.path.read_bytes()
    assert found["manifest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("at", [0, 99, 5000, -1])
def test_a_large_file_is_sampled(tmp_path, monkeypatch, at):
    monkeypatch.setattr(module, "WHOLE", 1000)
    monkeypatch.setattr(module, "PIECE", 100)
    path = tmp_path / "weights"
    data = bytearray(range(256)) * 40
    path.write_bytes(data[:900])
    assert digest_of(path) == f"sha256:{hashlib.sha256(data[:900]).hexdigest()}"
    path.write_bytes(data)
    before = digest_of(path)
    assert before.startswith("sampled:")
    data[at] ^= 1
    path.write_bytes(data)
    assert digest_of(path) != before


def test_the_size_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WHOLE", 1000)
    monkeypatch.setattr(module, "PIECE", 100)
    path = tmp_path / "weights"
    path.write_bytes(bytes(2000))
    before = digest_of(path)
    path.write_bytes(bytes(2001))
    assert digest_of(path) != before


def test_versions():
    assert {"bundle-composer", "mlx", "onnxruntime"} <= versions().keys()
