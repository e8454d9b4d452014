import json
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from composer.core.location import Location
from composer.formats import Headers
from tests.formats.making import MemoryFiles, MemoryRanges, entry, refusal, tensors

REPO = Location("repo", "", None)


class Counting(MemoryFiles):
    opened = 0

    def open(self, location: Location, within: Location | None = None) -> MemoryRanges:
        self.opened += 1
        return super().open(location, within)


@pytest.fixture
def files() -> Counting:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["T"])],
        [value("y", TensorProto.FLOAT, ["T"])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return Counting(
        {
            "model.safetensors": tensors({"a": entry()}, bytes(8)),
            "encoder.onnx": made.SerializeToString(),
            "config.json": b'{"hidden_size": 8, "auto_map": {"AutoModel": "x.Y"}}',
            "tokenizer.json": json.dumps({"model": {"type": "BPE", "vocab": {"a": 0}}}).encode(),
        }
    )


def test_each_file_is_read_once(files: Counting) -> None:
    headers = Headers(files)
    for _ in range(2):
        assert list(headers.safetensors(REPO)) == ["a"]
        assert headers.onnx(REPO / "encoder.onnx").inputs[0].dims == ("T",)
        assert headers.config(REPO) == {"hidden_size": 8}
        assert headers.tokenizer(REPO).id_of("a") == 0
    assert files.opened == 4
    assert [warning.code for warning in headers.warnings] == ["S471"]


def test_what_was_opened_is_noted_for_each_who_asks(files: Counting) -> None:
    """A header that is known already is no less a file that its reader needs."""
    headers = Headers(files)
    for _ in range(2):
        headers.opened.clear()
        headers.config(REPO)
        assert list(headers.opened) == [REPO / "config.json"]
    headers.safetensors(REPO)
    assert set(headers.opened) == {REPO / "config.json", REPO / "model.safetensors"}
    headers.exists(REPO / "tokenizer.json")
    assert len(headers.opened) == 2


def test_exists_and_names(files: Counting) -> None:
    headers = Headers(files)
    assert headers.exists(REPO / "config.json")
    assert headers.exists(REPO)
    assert not headers.exists(REPO / "lora")


def test_what_is_absent_is_refused(files: Counting) -> None:
    text = refusal(lambda: Headers(files).safetensors(REPO / "modell.safetensors"))
    assert text == (
        "repo/modell.safetensors: S401 repo/modell.safetensors does not exist\n"
        "    repo contains config.json, encoder.onnx, model.safetensors, tokenizer.json\n"
        "    hint: did you mean 'repo/model.safetensors'?"
    )


def test_no_backend_is_imported() -> None:
    """Headers are read before any library that a hostile file could crash."""
    heavy = ("numpy", "mlx", "onnx", "onnxruntime", "tokenizers", "safetensors")
    for path in Path(__file__).parents[2].joinpath("composer/headers").glob("*.py"):
        lines = path.read_text().splitlines()
        imports = [line.split()[1] for line in lines if line.startswith(("import ", "from "))]
        assert not {name.partition(".")[0] for name in imports}.intersection(heavy), path.name
