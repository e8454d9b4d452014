"""What a run was made with names the backend that a family ran on."""

import pytest

import composer
from composer.runtime.provenance import describe_run


@pytest.mark.parametrize("backend", ["onnx", "mlx"])
def test_the_backend_of_a_family_is_recorded(backend):
    with composer.load("mega-asr-mini", backends={"decoder": backend}) as bundle:
        made = describe_run(bundle, bundle.task(None), {}, {})
    assert made["placement"] == {"decoder": {"backend": backend, "precision": "float32"}}


def test_a_kind_that_the_manifest_names_is_not_repeated():
    with composer.load("mega-asr-mini", variant="mlx") as bundle:
        made = describe_run(bundle, bundle.task(None), {}, {})
    assert made["placement"] == {"decoder": {"precision": "float32"}}


def test_results_of_two_backends_do_not_mix(tmp_path):
    clips = bundle_clips(tmp_path)
    onnx = composer.BundleOptions("mega-asr-mini", backends={"decoder": "onnx"})
    mlx = composer.BundleOptions("mega-asr-mini", backends={"decoder": "mlx"})
    composer.evaluate(onnx, clips, folder=tmp_path / "out")
    with pytest.raises(composer.ComposerError, match="R570") as refused:
        composer.evaluate(mlx, clips, folder=tmp_path / "out")
    assert "placement.decoder.backend" in str(refused.value)


def bundle_clips(folder):
    from composer.sources.shipped import shipped_folder

    clips = shipped_folder("bundles") / "mega-asr-mini" / "clips"
    lines = (clips / "references.jsonl").read_text().splitlines()
    line = next(line for line in lines if "digits-01" in line)
    path = folder / "data.jsonl"
    path.write_text(line.replace("digits-01.flac", str(clips / "digits-01.flac")) + "\n")
    return path
