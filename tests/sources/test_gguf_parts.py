"""Models in several GGUF files, as gguf's own writer splits them."""

import re
import shutil

import pytest
from gguf import GGUFReader

import composer
from composer.components.checkpoints.folder import open_folder
from composer.formats import Headers
from composer.sources.resolve import find_bundle
from tests.formats.making import refusal
from tests.models.decoders import spec
from tests.sources import checkpoints

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Return the folder of a model's files, and what transformers answers."""
    folder = tmp_path_factory.mktemp("parts") / "repo"
    return folder, checkpoints.qwen3_gguf(folder, per_file=9)


def answer(bundle):
    options = {"answer": {"max_tokens": 8}}
    found = composer.load(bundle).run(text="the names", taps=True, options=options)
    return found.taps["answer.ids"].tolist()


def part(number):
    return f"Tiny-Q8_0-{number:05d}-of-00003.gguf"


def test_the_parts_are_one_model(parts):
    folder, want = parts
    assert sorted(file.name for file in folder.iterdir()) == [part(1), part(2), part(3)]
    assert answer(folder) == want
    assert answer(folder / part(1)) == want


def test_all_parts_are_downloaded(parts, hub, new_process):
    folder, want = parts
    mirror = hub({"ann/tiny": {f"q8/{file.name}": file.read_bytes() for file in folder.iterdir()}})
    assert answer("ann/tiny:Q8_0") == want
    assert all(mirror.requests_of(f"q8/{part(number)}") for number in (1, 2, 3))
    new_process(offline=True)
    assert answer("ann/tiny:Q8_0") == want


def error_text(file):
    return refusal(lambda: open_folder(spec(file).weights, Headers()))


def edited(folder, file, key, value):
    """Change a number in a file's metadata, in place."""
    field = GGUFReader(folder / file, "r+").fields[key]
    field.parts[field.data[0]][0] = value


CASES = {
    "named by another part": (
        lambda folder: None, part(2), f"{part(2)}: W241 is not the first of 3 parts",
    ),
    "a part that is missing": (
        lambda folder: (folder / part(3)).unlink(),
        part(1),
        f"{part(3)}: S401 repo/{part(3)} does not exist",
    ),
    "a part of another model": (
        lambda folder: edited(folder, part(2), "split.count", 4),
        part(1),
        f"{part(2)}: W241 is not part 2 of 3, as its name says",
    ),
    "two parts in turn": (
        lambda folder: edited(folder, part(3), "split.no", 1),
        part(1),
        f"{part(3)}: W241 is not part 3 of 3, as its name says",
    ),
    "a part twice": (
        lambda folder: (
            shutil.copy(folder / part(2), folder / part(3)),
            edited(folder, part(3), "split.no", 2),
        ),
        part(1),
        f"{part(3)}: W241 has the tensor .*, which .*{part(2)} has too",
    ),
    "fewer tensors than the first states": (
        lambda folder: edited(folder, part(1), "split.tensors.count", 99),
        part(1),
        f"{part(1)}: W241 states 99 tensors, but its 3 parts have",
    ),
    "another name": (
        lambda folder: (folder / part(1)).rename(folder / "a.gguf"),
        "a.gguf",
        "a.gguf: W241 is one of 3 parts, but is not named -00001-of-00003.gguf",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_refuses(case, parts, tmp_path):
    change, file, text = CASES[case]
    folder = shutil.copytree(parts[0], tmp_path / "repo")
    change(folder)
    assert re.match(f"(repo/)?{text}", error_text(folder / file)), error_text(folder / file)


def test_a_folder_of_parts_is_one_checkpoint(parts):
    assert find_bundle(parts[0]).checkpoint.file == part(1)
