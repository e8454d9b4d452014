import json

import pytest

from composer.core.errors import Problem
from composer.core.location import Location
from composer.formats import read_safetensors
from tests.formats.making import MemoryFiles, entry, refusal, tensors

REPO = Location("repo", "", None)


def model(*names: str) -> bytes:
    places = {name: entry(offsets=(8 * n, 8 * n + 8)) for n, name in enumerate(names)}
    return tensors(places, bytes(8 * len(names)))


def index(**places: object) -> bytes:
    return json.dumps({"metadata": {"total_size": 16}, "weight_map": places}).encode()


ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"

GOOD = {
    "one file": {"model.safetensors": model("a", "b")},
    "any one file": {"encoder.safetensors": model("a", "b"), "config.json": b"{}"},
    "index": {ONE: model("a"), TWO: model("b"), INDEX: index(a=ONE, b=TWO)},
    "index of one": {
        "model.safetensors": model("a", "b"),
        INDEX: index(a="model.safetensors", b="model.safetensors"),
    },
    "no index": {ONE: model("a"), TWO: model("b")},
    "others beside an index": {
        ONE: model("a"),
        TWO: model("b"),
        INDEX: index(a=ONE, b=TWO),
        "consolidated.safetensors": model("a", "b"),
    },
}

BESIDE = {
    "model.safetensors": {"model.safetensors": model("a"), "lora.safetensors": model("b")},
    "another precision": {"model.safetensors": model("a"), "model.fp16.safetensors": model("a")},
    "a series": {ONE: model("a"), TWO: model("b"), "head.safetensors": model("c")},
    "an index": {
        ONE: model("a"),
        TWO: model("b"),
        INDEX: index(a=ONE, b=TWO),
        "consolidated.safetensors": model("a", "b"),
    },
    "two indexes": {
        ONE: model("a"),
        TWO: model("b"),
        INDEX: index(a=ONE, b=TWO),
        "consolidated-00001-of-00001.safetensors": model("a", "b"),
        "consolidated.safetensors.index.json": index(
            a="consolidated-00001-of-00001.safetensors",
            b="consolidated-00001-of-00001.safetensors",
        ),
    },
    "the index of another precision": {
        "model.safetensors": model("a"),
        "model.fp16-00001-of-00001.safetensors": model("a"),
        "model.fp16.safetensors.index.json": index(a="model.fp16-00001-of-00001.safetensors"),
    },
}
WARNINGS = {
    "model.safetensors": "takes model.safetensors, not lora.safetensors",
    "another precision": "takes model.safetensors, not model.fp16.safetensors",
    "a series": "takes the 2 files of the model, not head.safetensors",
    "an index": "takes the 2 files of the model, not consolidated.safetensors",
    "two indexes": "takes the 2 files of the model, not consolidated-00001-of-00001.safetensors",
    "the index of another precision": "takes model.safetensors, not "
    "model.fp16-00001-of-00001.safetensors",
}

BAD = {
    "none": (
        {"config.json": b"{}"},
        "repo: S432 has no safetensors file\n    it has config.json",
    ),
    "pickles": (
        {"pytorch_model.bin": b"PK", "config.json": b"{}"},
        "repo: S432 has no safetensors file\n    it has pytorch_model.bin\n"
        "    hint: convert the weights to safetensors",
    ),
    "several": (
        {"encoder.safetensors": model("a"), "lora.safetensors": model("b")},
        "repo: S432 has 2 safetensors files and no index: encoder.safetensors, "
        "lora.safetensors\n"
        "    hint: write the path of the file to use",
    ),
    "two indexes": (
        {ONE: model("a"), "c.safetensors.index.json": b"{}", "b.safetensors.index.json": b"{}"},
        "repo: S432 has 2 indexes: b.safetensors.index.json, c.safetensors.index.json\n"
        f"    hint: move one set of weights away, or name the index of the other {INDEX}",
    ),
    "no weight_map": (
        {ONE: model("a"), INDEX: b'{"metadata": {}}'},
        f"repo/{INDEX}: S433 has no weight_map that names tensors",
    ),
    "index is LFS": (
        {ONE: model("a"), INDEX: b"version https://git-lfs.github.com/spec/v1\n"},
        f"repo/{INDEX}: S404 is a Git LFS pointer, not a safetensors index\n"
        "    hint: run `git lfs pull` in the repository, or fetch the file from the Hub",
    ),
    "C36 missing shard": (
        {ONE: model("a"), INDEX: index(a=ONE, b=TWO)},
        f"repo/{INDEX}: S434 names {TWO}, which is not in the folder\n"
        f"    repo contains {ONE}\n    hint: fetch the missing file",
    ),
    "C36 shard outside": (
        {ONE: model("a"), INDEX: index(a=ONE, b="../x.safetensors", c=3)},
        f"repo/{INDEX}: S433 places 'b' in '../x.safetensors'; expected a .safetensors file of "
        f"this folder\nrepo/{INDEX}: S433 places 'c' in '3'; expected a .safetensors file of this "
        "folder",
    ),
    "C36 tensor in two shards": (
        {ONE: model("a"), TWO: model("a")},
        f"repo/{TWO}: S435 has 'a', which is also in repo/{ONE}",
    ),
    "tensor in the other shard": (
        {ONE: model("b"), TWO: model("a"), INDEX: index(a=ONE, b=TWO)},
        f"repo/{ONE}: S435 has no 'a', which the index places here\n"
        f"repo/{ONE}: S435 has 'b', which the index does not place here\n"
        f"repo/{TWO}: S435 has no 'b', which the index places here\n"
        f"repo/{TWO}: S435 has 'a', which the index does not place here",
    ),
    "stray weights": (
        {
            ONE: model("a"),
            TWO: model("b"),
            "model.safetensors": model("a"),
            INDEX: index(a=ONE, b=TWO),
        },
        f"repo/model.safetensors: S435 is not named by {INDEX}, but loaders take every "
        "model*.safetensors\n    hint: remove one of the two sets of weights",
    ),
    "incomplete series": (
        {
            "model-00001-of-00003.safetensors": model("a"),
            "model-00003-of-00003.safetensors": model("b"),
        },
        "repo: S434 has numbers 1, 3 of the 3 shards of 'model'\n    hint: fetch the missing files",
    ),
}


@pytest.mark.parametrize("files", GOOD.values(), ids=GOOD)
def test_folder_holds_one_model(files: dict[str, bytes]) -> None:
    assert sorted(read_safetensors(REPO, MemoryFiles(files))) == ["a", "b"]


@pytest.mark.parametrize("name", BESIDE)
def test_files_beside_the_model_are_not_read_and_named(name: str) -> None:
    warnings: list[Problem] = []
    found = read_safetensors(REPO, MemoryFiles(BESIDE[name]), warnings.append)
    assert sorted(found) == (["a"] if "model" in name or "precision" in name else ["a", "b"])
    assert [str(each) for each in warnings] == [
        f"repo: L330 warning: {WARNINGS[name]}\n"
        "    hint: write the path of the file that is meant, or move the others away"
    ]


@pytest.mark.parametrize(("files", "text"), BAD.values(), ids=BAD)
def test_folder_without_one_model_is_refused(files: dict[str, bytes], text: str) -> None:
    assert refusal(lambda: read_safetensors(REPO, MemoryFiles(files))) == text


def test_an_index_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("composer.formats.shards.INDEX_SIZE", 10)
    files = MemoryFiles({ONE: model("a"), INDEX: index(a=ONE)})
    text = refusal(lambda: read_safetensors(REPO, files))
    assert text.startswith(f"repo/{INDEX}: S408 has ")
    assert text.endswith("bytes; the limit is 10")
