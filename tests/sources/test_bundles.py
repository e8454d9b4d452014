"""A bundle on the Hub is checked from afar, downloaded where it runs, and runs without the Hub."""

import composer
from composer.graph.files import required_files
from composer.sources.hub import is_downloaded
from tests.models.test_gguf import in_one_file
from tests.sources.conftest import MINI, mini, refusal

CLIP = MINI / "clips" / "digits-01.flac"


def weights(mirror):
    return sum(r.sent for r in mirror.requests if r.path.endswith((".safetensors", ".onnx")))


def test_a_bundle_is_checked_from_its_headers_alone(hub):
    mirror = hub({"ann/mini": mini()})
    report = composer.check("ann/mini")
    assert [str(problem) for problem in report.problems] == []
    assert weights(mirror) < 1_500_000  # of 7 MB, most of it in one ONNX file
    paths = {need.file.path: need.components for need in required_files(report.bundle)}
    assert paths == {
        "onnx/audio_encoder_fp32.onnx": ("encoder",),
        "mlx/llm-mixed8_4/config.json": ("decoder",),
        "mlx/llm-mixed8_4/model.safetensors": ("decoder",),
        "mlx/llm-mixed8_4/model.safetensors.index.json": ("decoder",),
        "tokenizer/tokenizer.json": ("decoder", "prompt"),
    }


def test_only_what_is_needed_is_downloaded_and_it_runs(hub, hub_home, new_process):
    mirror = hub({"ann/mini": mini() | {"mlx/other.safetensors": CLIP, "code.py": CLIP}})
    with composer.load("hf:ann/mini", trust=True) as bundle:
        text = bundle.run(audio=str(CLIP)).text
        assert all(map(is_downloaded, required_files(bundle.checked)))
    with composer.load(MINI) as local:
        assert local.run(audio=str(CLIP)).text == text
    assert mirror.requests_of("other.safetensors") == mirror.requests_of("code.py") == []
    new_process(offline=True)
    mirror.requests.clear()
    with composer.load("hf:ann/mini", trust=True) as bundle:
        assert bundle.run(audio=str(CLIP)).text == text
    assert mirror.requests == []


def test_a_bundle_of_12_gb_is_checked_by_its_headers(hub, tmp_path):
    from benchmarks.hub import repository

    mirror = hub({"ann/huge": repository(tmp_path)})
    report = composer.check("ann/huge")
    assert [str(problem) for problem in report.problems] == []
    assert sum(need.file.size for need in required_files(report.bundle)) > 12 * 10**9
    assert mirror.sent < 5_000_000
    assert len(mirror.requests) == 12


def test_offline_with_half_of_the_files(hub, new_process):
    mirror = hub({"ann/mini": mini()})
    composer.check("ann/mini")
    new_process(offline=True)
    mirror.requests.clear()
    assert composer.check("ann/mini").ok
    assert refusal(composer.load, "ann/mini", trust=True) == [
        "S499 2 files are not in the cache, and HF_HUB_OFFLINE is set\n"
        "    ann/mini/onnx/audio_encoder_fp32.onnx, ann/mini/mlx/llm-mixed8_4/model.safetensors\n"
        "    hint: fetch it while online: composer pull"
    ]
    assert mirror.requests == []


def test_a_decoder_in_a_gguf_file_is_checked_by_its_header_and_runs(hub, tmp_path):
    """Of two files of a repository the one that the manifest names is downloaded."""
    expected, file = in_one_file(tmp_path), tmp_path / "model.gguf"
    files = {"bundle.yaml": tmp_path / "bundle.yaml", "model.gguf": file, "other.gguf": file}
    mirror = hub({"ann/gguf": files})
    assert composer.check("ann/gguf").ok
    assert mirror.sent < file.stat().st_size
    with composer.load("ann/gguf") as bundle:
        assert bundle.run(text="the names").outputs["ids"].tolist() == expected
    assert mirror.requests_of("other.gguf") == []
