"""A GGUF file without a manifest runs by its path, and by the ID of its repository."""

import pytest
from gguf import GGUFWriter

import composer
from composer.cli import main
from composer.core.errors import ComposerError
from composer.formats.vocab_merges import QWEN2
from composer.sources.resolve import find_bundle
from tests.formats.test_gguf_tokenizer import byte_level, byte_level_metadata
from tests.models import gguf_files
from tests.models.decoders import save
from tests.models.test_gguf import build
from tests.sources import checkpoints

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = {"answer": {"max_tokens": 8}}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return a GGUF file with its tokenizer and chat template, and what transformers answers."""
    folder = tmp_path_factory.mktemp("gguf") / "repo"
    answered = checkpoints.qwen3_gguf(folder)
    return folder / "Tiny-Q8_0.gguf", answered


def answer(bundle):
    found = composer.load(bundle).run(text="the names", taps=True, options=OPTIONS)
    return found.taps["answer.ids"].tolist()


@pytest.fixture
def repository(published, hub):
    """Publish the file beside another one, an encoder's and a quantizer's statistics."""
    data = published[0].read_bytes()
    names = ("Tiny-Q8_0.gguf", "Tiny-Q4_K_M.gguf", "mmproj-Tiny-f16.gguf", "Tiny-imatrix.gguf")
    names += ("mtp-Tiny-Q8_0.gguf", "MTP/mtp-Tiny-Q8_0.gguf")
    return hub({"ann/tiny-GGUF": {"README.md": b"", **dict.fromkeys(names, data)}})


def test_a_file_runs_by_its_path(published):
    file, want = published
    assert composer.check(file).ok
    assert answer(file) == want


def test_a_folder_with_one_file_runs(published, tmp_path):
    (tmp_path / "model.gguf").write_bytes(published[0].read_bytes())
    assert answer(tmp_path) == published[1]


def test_a_folder_with_two_files_names_both(published, tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(published[0].read_bytes())
    with pytest.raises(ComposerError) as caught:
        find_bundle(tmp_path)
    assert str(caught.value) == (
        f"S457 {tmp_path} is not one GGUF file: there are a.gguf, b.gguf\n"
        f"    hint: name one of them, such as {tmp_path}/a.gguf"
    )


@pytest.mark.parametrize("part", ["Q8_0", "q8_0", "Tiny-Q8_0"])
def test_a_repository_runs_by_a_part_of_the_name(part, published, repository, new_process):
    name = f"ann/tiny-GGUF:{part}"
    assert answer(name) == published[1]
    assert not repository.requests_of("Tiny-Q4_K_M.gguf")
    new_process(offline=True)
    assert answer(name) == published[1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "ann/tiny-GGUF",
            "S457 hf:ann/tiny-GGUF is not one GGUF file: there are Tiny-Q4_K_M.gguf, "
            "Tiny-Q8_0.gguf\n    hint: name one of them, such as hf:ann/tiny-GGUF:Q4_K_M",
        ),
        (
            "ann/tiny-GGUF:Q5",
            "S457 hf:ann/tiny-GGUF:Q5 is not one GGUF file: there are Tiny-Q4_K_M.gguf, "
            "Tiny-Q8_0.gguf\n    hint: name one of them, such as hf:ann/tiny-GGUF:Q4_K_M",
        ),
        (
            "ann/tiny-GGUF:../a",
            "S414 'ann/tiny-GGUF:../a' is not a hub ID\n    hint: after the colon stands a part "
            "of a GGUF file's name: owner/name:Q8_0",
        ),
    ],
)
def test_another_name_is_refused(name, text, repository):
    with pytest.raises(ComposerError) as caught:
        find_bundle(f"hf:{name}")
    assert str(caught.value) == text


def test_a_part_of_a_name_is_for_files_alone(hub):
    hub({"ann/bundle": {"bundle.yaml": b"composer: 1\n"}})
    with pytest.raises(ComposerError, match="S457 hf:ann/bundle has a manifest"):
        find_bundle("ann/bundle:Q8_0")


def test_safetensors_come_before_a_file_that_is_not_named(hub):
    files = {"config.json": b'{"model_type": "qwen3"}', "model.safetensors": b"", "a.gguf": b""}
    hub({"ann/both": files})
    assert find_bundle("ann/both").path.stem == "lm"


def test_new_names_the_file(published, repository, tmp_path, capsys):
    assert main(["new", str(tmp_path / "mine"), "--from", "ann/tiny-GGUF:Q8_0"]) == 0
    text = (tmp_path / "mine/bundle.yaml").read_text()
    assert "\n  repo: hf:ann/tiny-GGUF\n" in text
    assert "weights: repo/Tiny-Q8_0.gguf}" in text
    assert "files: repo/Tiny-Q8_0.gguf," in text
    assert answer(tmp_path / "mine") == published[1]


def test_new_writes_beside_a_file(published, tmp_path, capsys):
    file = tmp_path / "model.gguf"
    file.write_bytes(published[0].read_bytes())
    assert main(["new", str(tmp_path), "--from", str(file)]) == 0
    assert "weights: repo/model.gguf}" in (tmp_path / "bundle.yaml").read_text()
    assert answer(tmp_path) == published[1]


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"chat_template": None}, "W297 repo/model.gguf has no chat template"),
        (
            {"chat_template": "{{ messages }}"},
            "W297 the chat template of repo/model.gguf is none of the forms",
        ),
    ],
)
def test_a_template_that_is_not_known_is_refused(metadata, text, published, tmp_path):
    tokenizer = byte_level_metadata(byte_level(QWEN2, False, True), "qwen2")
    model = build("qwen3", vocab_size=len(tokenizer["tokens"]))
    file = tmp_path / "model.gguf"
    folder = save(model, tmp_path / "lm")
    gguf_files.write(folder, file, "qwen3", tokenizer=tokenizer, **metadata)
    with pytest.raises(ComposerError, match="W297") as caught:
        composer.check(file).raise_if_refused()
    assert text in str(caught.value)


def write_empty(file, architecture):
    writer = GGUFWriter(file, architecture)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("architecture", "texts"),
    [
        (
            "qwen3moe",
            (
                "no default manifest is for its general.architecture 'qwen3moe'\n",
                "hint: did you mean 'qwen3'?",
            ),
        ),
        (
            "qwen3vl",
            (
                "no default manifest is for its general.architecture 'qwen3vl' alone\n",
                "    qwen3-asr-gguf is for it with clip.audio.projector_type: qwen3a\n",
                "hint: write a manifest: composer new DIR makes one to change",
            ),
        ),
    ],
)
def test_an_architecture_without_a_manifest_is_named(architecture, texts, tmp_path):
    write_empty(tmp_path / "model.gguf", architecture)
    with pytest.raises(ComposerError) as caught:
        find_bundle(tmp_path / "model.gguf")
    for text in texts:
        assert text in str(caught.value)
