from typing import Any

import pytest

from composer.formats import Quantization, Scheme, read_quantization
from tests.formats.making import HERE, refusal

PATH = "model.layers.0.self_attn.q_proj"


def test_plain_weights_have_none() -> None:
    assert read_quantization({}) is None
    assert read_quantization({"quantization": None, "quantization_config": None}) is None


def test_modules_may_say_otherwise() -> None:
    found = read_quantization(
        {
            "quantization": {
                "group_size": 64,
                "bits": 4,
                "mode": "affine",
                PATH: {"group_size": 32, "bits": 8},
                "model.embed_tokens": False,
                "lm_head": True,
                "experts": {"mode": "mxfp4"},
            }
        }
    )
    assert found is not None
    assert (found.bits, found.group_size, found.mode) == (4, 64, "affine")
    assert found.of(PATH) == Scheme(8, 32, "affine")
    assert found.of("model.embed_tokens") is None
    assert found.of("lm_head") == found.of("anything else") == Scheme(4, 64, "affine")
    assert found.of("experts") == Scheme(4, 32, "mxfp4")


@pytest.mark.parametrize(
    ("config", "scheme"),
    [
        ({"quant_method": "mxfp4"}, (4, 32, "mxfp4")),
        ({"quant_method": "mxfp8"}, (8, 32, "mxfp8")),
        (
            {"quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [32, 32]},
            (8, 32, "mxfp8"),
        ),
        (
            {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"},
            (4, 16, "nvfp4"),
        ),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "NVFP4"}}, (4, 16, "nvfp4")),
        ({"quant_method": "awq", "bits": 4}, (4, 128, "affine")),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64}, (4, 64, "affine")),
    ],
)
def test_formats_of_other_tools(config: dict[str, Any], scheme: tuple[int, int, str]) -> None:
    assert read_quantization({"quantization_config": config}) == Quantization(*scheme)
    nested = {"text_config": {"quantization_config": config}}
    assert read_quantization(nested) == Quantization(*scheme)


def test_fp8_of_another_layout_is_undone_at_load() -> None:
    assert read_quantization({"quantization_config": {"quant_method": "fp8"}}) is None


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"quantization": 4}, "repo/m: S472 quantization is an integer; expected an object"),
        (
            {"quantization": {"bits": 4}},
            "repo/m: S472 quantization of 'quantization': group_size is missing",
        ),
        (
            {"quantization": {"bits": 7, "group_size": 64}},
            "repo/m: S472 quantization of 'quantization': bits '7' in mode affine; "
            "expected one of 1, 2, 3, 4, 5, 6, 8",
        ),
        (
            {"quantization": {"bits": True, "group_size": 64}},
            "repo/m: S472 quantization of 'quantization': bits 'True' in mode affine; "
            "expected one of 1, 2, 3, 4, 5, 6, 8",
        ),
        (
            {"quantization": {"bits": 4, "group_size": 64, PATH: {"mode": "nvfp4", "bits": 8}}},
            f"repo/m: S472 quantization of '{PATH}': bits '8' in mode nvfp4; expected one of 4",
        ),
        (
            {"quantization": {"bits": 4, "group_size": 64, "mode": "evil"}},
            "repo/m: S472 quantization of 'quantization': mode 'evil'; "
            "expected one of affine, mxfp4, mxfp8, nvfp4",
        ),
        (
            {"quantization_config": {"quant_method": "bitnet"}},
            "repo/m: S472 quantization_config has the unknown method 'bitnet'\n"
            "    hint: convert the original weights with mlx_lm.convert",
        ),
    ],
)
def test_malformed(config: dict[str, Any], text: str) -> None:
    assert refusal(lambda: read_quantization(config, HERE)) == text
