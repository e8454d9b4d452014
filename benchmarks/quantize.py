"""Measure the memory and the time to write a large checkpoint quantized.

A checkpoint of Qwen3's shape with random weights is written to a folder, and `composer quantize`
runs on it in a process of its own, whose peak of memory is read at its end. With `--onnx` it is an
ONNX file of products, with its constants beside it.

    .venv/bin/python -m benchmarks.quantize FOLDER --gb 16 --precision mixed-8-4
    .venv/bin/python -m benchmarks.quantize FOLDER --gb 2.2 --precision int8 --onnx
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from composer.formats.safetensors_writer import NewTensor, SafetensorsWriter
from composer.sources.shipped import shipped_folder

WIDTH, FFN, HEADS, HEAD, ROWS = 4096, 12288, 32, 128, 151_936
SHARD = 4_000_000_000
MANIFEST = """\
composer: 1
name: large
sources: {repo: ./repo}
components: {decoder: {use: mlx.lm, weights: repo/lm}}
inputs: {ids: ids}
graph:
  words: {run: decoder.embed, with: {ids: $ids}}
  answer: {run: decoder.generate, with: {embeds: $words}}
outputs: {ids: $answer.ids}
"""
PRODUCTS = f"""\
composer: 1
name: large
sources: {{repo: ./repo}}
components:
  decoder: {{use: onnx.graph, weights: repo/lm/model.onnx, config: {{batch: none}}}}
inputs: {{x: {{type: tensor, port: f32 T {WIDTH}}}}}
graph: {{rows: {{run: decoder, with: {{x: $x}}}}}}
outputs: {{rows: $rows}}
"""
CONFIG = {
    "model_type": "qwen3",
    "hidden_size": WIDTH,
    "intermediate_size": FFN,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 8,
    "head_dim": HEAD,
    "vocab_size": ROWS,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "eos_token_id": 0,
}


def layer(number: int) -> list[NewTensor]:
    """Return the tensors of one layer."""
    keys = 8 * HEAD
    shapes = {
        "self_attn.q_proj": (HEADS * HEAD, WIDTH),
        "self_attn.k_proj": (keys, WIDTH),
        "self_attn.v_proj": (keys, WIDTH),
        "self_attn.o_proj": (WIDTH, HEADS * HEAD),
        "self_attn.q_norm": (HEAD,),
        "self_attn.k_norm": (HEAD,),
        "mlp.gate_proj": (FFN, WIDTH),
        "mlp.up_proj": (FFN, WIDTH),
        "mlp.down_proj": (WIDTH, FFN),
        "input_layernorm": (WIDTH,),
        "post_attention_layernorm": (WIDTH,),
    }
    start = f"model.layers.{number}."
    return [NewTensor(f"{start}{name}.weight", "bf16", size) for name, size in shapes.items()]


def write_model(folder: Path, nbytes: float) -> int:
    """Write a checkpoint of about so many bytes, and return how many it has."""
    tensors = [
        NewTensor("model.embed_tokens.weight", "bf16", (ROWS, WIDTH)),
        NewTensor("model.norm.weight", "bf16", (WIDTH,)),
    ]
    layers = 0
    while sum(each.nbytes for each in tensors) < nbytes:
        tensors += layer(layers)
        layers += 1
    shards: list[list[NewTensor]] = [[]]
    for each in tensors:
        if sum(other.nbytes for other in shards[-1]) + each.nbytes > SHARD:
            shards.append([])
        shards[-1].append(each)
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).normal(scale=0.02, size=2**22).astype(np.float32)
    data = (noise.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    places = {}
    for number, own in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        with SafetensorsWriter(folder / name, own, {"format": "mlx"}) as writer:
            for each in own:
                places[each.name] = name
                for start in range(0, each.nbytes, len(data)):
                    writer.write(each.name, data[: min(len(data), each.nbytes - start)])
    index = json.dumps({"weight_map": places})
    (folder / "model.safetensors.index.json").write_text(index)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": layers}))
    tokenizer = shipped_folder("bundles") / "mega-asr-mini" / "tokenizer" / "tokenizer.json"
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    return sum(each.nbytes for each in tensors)


def matrix(number: int) -> np.ndarray:
    """Return one of the matrices that an ONNX file multiplies by in turn, float32 [4096, 4096]."""
    draw = np.random.default_rng(number)
    return draw.standard_normal((WIDTH, WIDTH), np.float32) * np.float32(WIDTH**-0.5)


def write_onnx(folder: Path, nbytes: float) -> int:
    """Write an ONNX file of about so many bytes, which are beside it; return how many they are."""
    import onnx

    folder.mkdir(parents=True)
    size = 4 * WIDTH**2
    names = [f"w{number}" for number in range(-(-int(nbytes) // size))]
    constants, nodes, value = [], [], "x"
    with (folder / "model.data").open("wb") as data:
        for number, name in enumerate(names):
            data.write(matrix(number).tobytes())
            tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT)
            tensor.dims.extend((WIDTH, WIDTH))
            tensor.data_location = onnx.TensorProto.EXTERNAL
            place = {"location": "model.data", "offset": number * size, "length": size}
            for key, entry in place.items():
                tensor.external_data.add(key=key, value=str(entry))
            constants.append(tensor)
            nodes.append(onnx.helper.make_node("MatMul", [value, name], [f"y{number}"], name))
            value = f"y{number}"
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", WIDTH])
        for name in ("x", value)
    ]
    graph = onnx.helper.make_graph(nodes, "products", ends[:1], ends[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, folder / "model.onnx")
    return size * len(names)


def main() -> None:
    """Write the model, quantize it and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a new folder, which is removed at the end")
    parser.add_argument("--gb", type=float, default=4)
    parser.add_argument("--precision", default="mixed-8-4")
    parser.add_argument("--onnx", action="store_true", help="an ONNX file instead")
    options = parser.parse_args()
    source = options.folder / "large"
    write = write_onnx if options.onnx else write_model
    nbytes = write(source / "repo" / "lm", options.gb * 1e9)
    (source / "bundle.yaml").write_text(PRODUCTS if options.onnx else MANIFEST)
    command = [sys.executable, "-m", "composer", "quantize", source, "-o", options.folder / "new"]
    command += ["--precision", f"decoder={options.precision}"]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"{nbytes / 1e9:.3g} GB, {seconds:.1f} s, peak of memory {peak / 1e6:.0f} MB")
    shutil.rmtree(options.folder)


if __name__ == "__main__":
    main()
