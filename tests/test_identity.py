import hashlib
from importlib.metadata import version

from composer.checker import check
from composer.runtime.bundle import Bundle
from composer.runtime.profile import Profile
from composer.runtime.provenance import identity, versions
from tests.cli.conftest import cli

__all__ = ["cli"]


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


def test_a_lock_is_named_by_its_digest(cli, tmp_path):
    path = tmp_path / "mine"
    assert cli("new", path)[0] == 0
    assert cli("lock", path)[0] == 0
    checked = check(path).raise_if_refused()
    with Bundle(checked, Profile()) as bundle:
        found = identity(bundle, "default")
    data = (path / "bundle.lock").read_bytes()
    assert found["lock"] == f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_versions():
    found = versions()
    assert {"python", "bundle-composer", "mlx", "onnxruntime", "numpy"} <= found.keys()
    assert versions(["composer.components.mlx.lm"]) == found
    # A component of another package brings that package's version.
    assert versions(["yaml.nodes"]) == {**found, "PyYAML": version("PyYAML")}
