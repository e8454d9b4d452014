"""A checkpoint without a manifest runs by a default one."""

import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import composer
from composer.cli import main
from composer.core.errors import ComposerError
from composer.core.suggest import listed
from composer.sources.default_manifests import default_manifests
from composer.sources.resolve import find_bundle
from tests import releases
from tests.reference.gemma4_vision import Gemma4Vision
from tests.reference.qwen3_asr import RATE, TOKENS, Reference, make_clip, make_model, make_tokenizer
from tests.sources import checkpoints


@pytest.fixture(scope="module")
def model(one_thread):
    tokenizer = make_tokenizer()
    return make_model(tokenizer), tokenizer


@pytest.fixture(scope="module")
def released(model, tmp_path_factory):
    return checkpoints.qwen3_asr(tmp_path_factory.mktemp("release"), *model)


@pytest.fixture(scope="module")
def converted(released, tmp_path_factory):
    """Return the same weights as MLX's conversions have them, the head left out."""
    folder = tmp_path_factory.mktemp("converted") / "repo"
    shutil.copytree(released, folder)
    state = load_file(folder / "model.safetensors")
    state.pop("thinker.lm_head.weight")
    ported = {name.removeprefix("thinker."): value for name, value in state.items()}
    for name, value in ported.items():
        if "conv2d" in name and name.endswith("weight"):
            ported[name] = value.movedim(1, -1).contiguous()
    save_file(ported, folder / "model.safetensors", metadata={"format": "mlx"})
    return folder


def answer(folder, seconds):
    found = composer.load(folder).run(
        audio=(make_clip(seconds), RATE), taps=True, options={"answer": {"max_tokens": TOKENS}}
    )
    return found.taps["answer.ids"].tolist(), np.asarray(found.taps["soft"])


@pytest.mark.parametrize("layout", ["released", "converted"])
def test_a_folder_of_qwen3_asr_gives_the_ids_of_transformers(model, layout, request):
    folder = request.getfixturevalue(layout)
    reference = Reference(model[1], model[0])
    want = reference.stages(make_clip(3.375))
    ids, rows = answer(folder, 3.375)
    assert np.abs(rows - want.rows).max() <= 1e-4
    assert ids == [token for token in want.answer if token not in model[0].config.eos_token_id]


@pytest.mark.parametrize("size", releases.SIZES)
def test_releases_of_gemma_4_are_recognised(size, tmp_path):
    folder = releases.gemma4(tmp_path / "repo", size, 4)
    name = "gemma-4-speech" if releases.SIZES[size].per_layer else "gemma-4-vision"
    assert find_bundle(folder).path.stem == name
    assert composer.check(folder).ok


@pytest.mark.parametrize(
    ("kind", "towers", "name"),
    [
        ("e2b", ("audio", "vision"), "gemma-4-speech"),
        ("31b", ("vision",), "gemma-4-vision"),
        ("31b", (), "gemma-4"),
    ],
)
@pytest.mark.parametrize("prefix", ["model.", ""])
def test_a_gemma_4_without_a_tower_is_recognised(kind, towers, name, prefix, tmp_path):
    """A conversion may leave towers out and their configs in config.json."""
    made = Gemma4Vision(kind, audio=kind == "e2b", patch_size=16)
    folder = made.write(tmp_path / "repo")
    state = {}
    for key, value in load_file(folder / "model.safetensors").items():
        short = key.removeprefix("model.")
        part = short.partition(".")[0].removeprefix("embed_").removesuffix("_tower")
        if short.startswith("language_model.") or part in towers:
            at = f"model.{short}" if short.startswith("language_model.") else prefix + short
            state[at] = value
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert find_bundle(folder).path.stem == name
    assert composer.check(folder).ok


def test_a_manifest_of_its_own_comes_first(released, tmp_path):
    folder = tmp_path / "repo"
    shutil.copytree(released, folder)
    shutil.copy(default_manifests()["qwen3-asr"].path, folder / "bundle.yaml")
    assert find_bundle(folder).path == folder


def test_new_writes_the_manifest_into_the_folder(released, tmp_path, capsys):
    folder = tmp_path / "my-asr"
    shutil.copytree(released, folder)
    assert main(["new", str(folder), "--from", str(folder)]) == 0
    text = (folder / "bundle.yaml").read_text()
    assert "\nname: my-asr\n" in text
    assert "recognises" not in text
    assert composer.check(folder).ok
    assert find_bundle(folder).checkpoint is None


@pytest.mark.parametrize("name", ["bundle.yaml", "bundle-1.schema.json"])
def test_new_writes_through_no_link(released, tmp_path, capsys, name):
    """A folder that came from elsewhere may have a link where the manifest or its schema goes."""
    folder, mine = tmp_path / "my-asr", tmp_path / "mine"
    shutil.copytree(released, folder)
    (folder / name).symlink_to(mine)
    assert main(["new", str(folder), "--from", str(folder)]) == 5
    assert f"{folder / name}: R507 cannot write: it is a link" in capsys.readouterr().err
    assert not mine.exists()


def test_new_replaces_no_file(released, tmp_path, capsys):
    folder = tmp_path / "my-asr"
    shutil.copytree(released, folder)
    (folder / "bundle-1.schema.json").write_text("mine")
    assert main(["new", str(folder), "--from", str(folder)]) == 5
    assert "R507 there is a file already" in capsys.readouterr().err
    assert (folder / "bundle-1.schema.json").read_text() == "mine"
    assert not (folder / "bundle.yaml").exists()


def test_new_refuses_a_folder_elsewhere(released, tmp_path, capsys):
    assert main(["new", str(tmp_path / "other"), "--from", str(released)]) == 2
    assert "R542 a manifest has no source outside of its folder" in capsys.readouterr().err


def test_new_refuses_what_has_a_manifest(tmp_path, capsys):
    assert main(["new", str(tmp_path / "other"), "--from", "mega-asr-mini"]) == 2
    assert "R542 mega-asr-mini has a manifest, which is not inferred" in capsys.readouterr().err


def test_an_unknown_checkpoint_is_refused(released, tmp_path):
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3_as"}))
    with pytest.raises(ComposerError) as caught:
        find_bundle(folder)
    assert str(caught.value) == (
        f"{folder}/config.json: S456 {folder} has no bundle.yaml, and no default manifest is for "
        "its model_type 'qwen3_as'\n"
        f"    the default manifests are {listed(sorted(default_manifests()))}\n"
        "    hint: did you mean 'qwen3_asr'?"
    )


def test_a_folder_without_a_config_is_refused_as_before(tmp_path):
    with pytest.raises(ComposerError, match="M100"):
        composer.check(tmp_path).raise_if_refused()


def test_no_two_default_manifests_state_the_same():
    manifests = default_manifests().values()
    stated = [json.dumps(dict(each.recognises), sort_keys=True) for each in manifests]
    assert len({*stated}) == len(stated)
    kinds = {"model_type", "model.type", "general.architecture"}
    assert all(len(kinds & {*each.recognises}) == 1 for each in manifests)
    assert all({"repo"} <= {*each.sources} <= {"repo", "mmproj"} for each in manifests)


def test_new_names_the_repository_as_the_source(released, hub, tmp_path, capsys):
    hub({"ann/my-qwen3-asr": checkpoints.files_of(released)})
    assert main(["new", str(tmp_path / "mine"), "--from", "ann/my-qwen3-asr"]) == 0
    text = (tmp_path / "mine/bundle.yaml").read_text()
    assert "\n  repo: hf:ann/my-qwen3-asr\n" in text
    assert composer.check(tmp_path / "mine").ok
    assert answer(tmp_path / "mine", 1.0)[0] == answer(released, 1.0)[0]
