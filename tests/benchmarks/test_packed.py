"""The packed GGUF file of the benchmark is what composer and llama.cpp both read."""

import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import composer
from benchmarks import packed
from benchmarks.peers.drivers import composer as driver
from benchmarks.peers.gguf import write_gguf
from benchmarks.peers.models import qwen3
from benchmarks.peers.models.packed import write_packed_model


def ids_of(folder: Path, variant: str) -> list[int]:
    ids = np.random.default_rng(0).integers(2, 256, 40)
    with composer.load(folder, variant=variant) as bundle:
        result = bundle.run(ids=ids, options={"answer": {"max_tokens": 8}})
    found: list[int] = result.outputs["ids"].tolist()
    return found


@pytest.mark.parametrize("form", ["q4_0", "q8_0"])
def test_composer_has_the_ids_of_the_dequantized_weights(form: str, tmp_path: Path) -> None:
    model = qwen3(tmp_path / "packed")
    write_gguf(model.checkpoint, model.checkpoint.with_suffix(".gguf"), form)
    stored = {}
    for tensor in gguf.GGUFReader(model.checkpoint.with_suffix(".gguf")).tensors:
        stored[tensor.name] = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    shutil.copytree(model.bundle, tmp_path / "plain")
    file = tmp_path / "plain/weights/model.safetensors"
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, 4)
    plain = load_file(file)
    for name, before in plain.items():
        renamed = names.get_name(name.removesuffix(".weight"))
        plain[name] = np.ascontiguousarray(stored[f"{renamed}.weight"].reshape(before.shape))
        assert (plain[name] != before).any() == (before.ndim == 2)
    save_file(plain, file, metadata={"format": "mlx"})
    assert ids_of(model.bundle, "packed") == ids_of(tmp_path / "plain", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma4-e2b", "gemma4-e4b"])
def test_gemma4_is_written_without_its_float32_weights(name: str, tmp_path: Path) -> None:
    model = write_packed_model(name, tmp_path, False)
    write_gguf(model.checkpoint, model.checkpoint.with_suffix(".gguf"), "q4_0", random=True)
    assert len(ids_of(model.bundle, "packed")) == 8


def test_what_reads_no_gguf_is_compared_in_4_bits_where_the_weights_are() -> None:
    llama = [
        (peer, variant, "q8_0")
        for peer in ("llama.cpp", "llama.cpp-native")
        for variant in ("packed", "packed_int8")
    ]
    assert list(packed.comparisons("q8_0", True)) == llama
    assert list(packed.comparisons("q4_0", False)) == [(*it[:2], "q4_0") for it in llama]
    others = list(packed.comparisons("q4_0", True))[4:]
    assert [(peer, variant) for peer, variant, _ in others] == [
        ("onnxruntime-genai", "packed"), ("transformers", "packed"), ("mlx-lm", "packed"),
    ]  # fmt: skip


def test_a_further_token_is_what_a_prompt_is_not() -> None:
    spent = {"a": [3.0, 5.0], "a, prompt": [1.0, 1.0]}
    assert packed.further_tokens(spent, "a", 4) == [0.5, 1.0]


def test_texts_at_once_have_the_ids_that_each_has_alone(tmp_path: Path) -> None:
    model = qwen3(tmp_path / "packed")
    write_gguf(model.checkpoint, model.checkpoint.with_suffix(".gguf"), "q4_0")
    run = driver.load(str(model.bundle), model.task, "packed")
    prompts = np.random.default_rng(0).integers(2, 256, (3, 20)).tolist()
    alone = [run(tokens=6, ids=each) for each in prompts]
    assert run(tokens=6, prompts=prompts) == [token for each in alone for token in each]
    assert len({tuple(each) for each in alone}) == 3
