import json

import pytest

from composer.core.errors import Problem
from composer.core.location import Location
from composer.formats import read_config, unsafe_keys
from tests.formats.making import HERE, MemoryFiles, one, refusal

FOLDER = Location("repo", "", None)


def test_a_folder_means_its_config() -> None:
    files = MemoryFiles({"config.json": b'{"model_type": "qwen3", "eps": 1e-6}'})
    assert read_config(FOLDER, files) == {"model_type": "qwen3", "eps": 1e-6}
    assert refusal(lambda: read_config(FOLDER, MemoryFiles({"x.json": b"{}"}))) == (
        "repo/config.json: S401 repo/config.json does not exist\n    repo contains x.json"
    )


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "repo/m: S407 is empty; expected a JSON file\n    hint: download it again"),
        (bytes(4_000_001), "repo/m: S408 has 4000001 bytes; the limit is 4000000"),
        (b'{"a": NaN}', "repo/m: S413 the file has the number NaN, which is not valid JSON"),
        (b'{"a": 1, "a": 1}', "repo/m: S411 the file has the key 'a' twice"),
        (
            b'{"a":' * 50 + b"{}" + b"}" * 50,
            "repo/m: S412 the file is nested more than 32 levels deep",
        ),
        (
            b'{"model_file": "modeling.py"}',
            "repo/m: S470 'model_file' runs 'modeling.py', Python code of the repository\n"
            "    hint: use a component that knows this architecture, or install one as a plug-in; "
            "then remove model_file",
        ),
        (
            b'{"text_config": {"model_file": "a.py"}}',
            "repo/m: S470 'text_config.model_file' runs 'a.py', Python code of the "
            "repository\n    hint: use a component that knows this architecture, or install one as "
            "a plug-in; then remove model_file",
        ),
    ],
)
def test_bad_config_is_refused(data: bytes, text: str) -> None:
    assert refusal(lambda: read_config(HERE, one(data))) == text


def test_dangerous_keys_are_dropped_with_a_warning() -> None:
    config = {
        "auto_map": {"AutoModel": "modeling.Evil"},
        "trust_remote_code": True,
        "text_config": {"_attn_implementation_internal": "evil/kernel", "hidden_size": 8},
        "parts": [{"auto_map": {}}, 3],
    }
    warnings: list[Problem] = []
    files = one(json.dumps(config).encode())
    assert read_config(HERE, files, warnings.append) == {
        "text_config": {"hidden_size": 8},
        "parts": [{}, 3],
    }
    assert [str(warning) for warning in warnings] == [
        "repo/m: S471 warning: 'auto_map' names Python classes of the repository; ignored",
        "repo/m: S471 warning: 'trust_remote_code' runs Python code of the repository; ignored",
        "repo/m: S471 warning: 'text_config._attn_implementation_internal' can name a kernel to "
        "download and run; ignored",
        "repo/m: S471 warning: 'parts.auto_map' names Python classes of the repository; ignored",
    ]


@pytest.mark.parametrize(
    ("second", "notes"),
    [
        ({"bits": 4, "group_size": 64}, 0),
        ({"bits": 4, "group_size": 64, "mode": "affine"}, 0),
        (None, 0),
        ({"bits": 8, "group_size": 64}, 1),
        ({"bits": 4, "group_size": 64, "lm_head": False}, 1),
        ({"quant_method": "gptq", "bits": 4}, 1),
        ("4 bits", 1),
    ],
)
def test_a_second_quantization_that_differs_is_warned_of(second: object, notes: int) -> None:
    warnings: list[Problem] = []
    config = {"quantization": {"bits": 4, "group_size": 64}, "quantization_config": second}
    read_config(HERE, one(json.dumps(config).encode()), warnings.append)
    text = "L347 warning: quantization_config differs from quantization, which alone is read"
    assert [str(each).partition("\n")[0] for each in warnings] == [f"repo/m: {text}"] * notes


def test_harmless_values_of_those_keys_are_silent() -> None:
    quiet = {
        "model_file": None,
        "trust_remote_code": False,
        "_attn_implementation_internal": "sdpa",
    }
    assert unsafe_keys(quiet, HERE) == ()
