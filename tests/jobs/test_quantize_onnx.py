"""ONNX files in other precisions: at load, on disk, and against what their numbers stand for."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import composer
from benchmarks.quantize import PRODUCTS, matrix, write_onnx
from composer.components.onnx import file_precision
from composer.core.errors import ComposerError
from composer.core.quantization_recipe import QuantizationRecipe as Quantization
from composer.core.quantization_recipe import QuantizationRule
from composer.core.weight_group import bits_per_weight
from composer.sources.shipped import shipped_folder

FILE = shipped_folder("bundles") / "mega-asr-mini/onnx/audio_encoder_fp32.onnx"
MANIFEST = """\
composer: 1
name: tower
sources: {repo: ./repo}
components:
  it: {use: onnx.graph, weights: repo/tower.onnx, config: {rows: {chunk: 200, stride: 8}}}
inputs: {x: {type: tensor, port: f32 80 F}}
graph: {rows: {run: it, with: {input_features: $x}}}
outputs: {rows: $rows}
"""
X = np.random.default_rng(4).normal(0, 1, (80, 310)).astype("f4")
EIGHT, FOUR = Quantization(8, 64, name="eight"), Quantization(4, 32, keep=("*layers.0/*",))


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tower")
    (folder / "repo").mkdir()
    shutil.copy(FILE, folder / "repo/tower.onnx")
    (folder / "bundle.yaml").write_text(MANIFEST)
    return folder


def rows(bundle, **options):
    with composer.load(bundle, trust=True, **options) as loaded:
        return loaded.run(x=X).outputs["rows"]


def unpacked(file, target):
    """Write a file whose packed matrices are float32: scale times code less zero point."""
    model = onnx.load(file)
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        sizes = {each.name: each.i for each in node.attribute}
        codes, scales, zeros = (constants[name] for name in node.input[1:])
        count, blocks = sizes["N"], codes.shape[1]
        zeros = zeros.reshape(count, -1)
        if sizes["bits"] == 4:
            codes = np.stack([codes & 15, codes >> 4], -1)
            zeros = np.stack([zeros & 15, zeros >> 4], -1).reshape(count, -1)[:, :blocks]
        wide = codes.reshape(count, blocks, -1).astype("f4") - zeros[..., None].astype("f4")
        wide = (wide * scales.reshape(count, blocks, 1)).reshape(count, -1)[:, : sizes["K"]]
        name = f"{node.input[1]}.wide"
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(wide.T), name))
        del node.input[1:], node.attribute[:]
        node.input.append(name)
        node.op_type, node.domain = "MatMul", ""
    onnx.save(model, target)


@pytest.mark.parametrize(
    ("precision", "bits", "near"),
    [("float16", 16, 5e-3), (EIGHT, 9.2, 0.05), (FOUR, 11.6, 0.6), ("int8-dynamic", 8.8, 0.2)],
    ids=["float16", "eight", "four", "dynamic"],
)
def test_at_load_and_on_disk_are_the_same(tower, tmp_path, precision, bits, near):
    plain, asked = rows(tower), {"it": precision}
    found = rows(tower, precision=asked)
    made = composer.quantize(tower, tmp_path / "new", precision=asked)
    assert (rows(made.path) == found).all()
    scale = abs(plain).max()
    assert 1e-6 * scale < abs(found - plain).max() < near * scale
    assert bits_per_weight(made.weights["it"]) == pytest.approx(bits, abs=0.5)
    assert made.nbytes < 0.6 * made.read
    assert composer.verify(tmp_path / "new").problems == ()
    origins = json.loads((tmp_path / "new/quantization.json").read_text())["tensors"]
    assert list(origins["repo/tower.onnx"]["from"]) == ["repo/tower.onnx"]
    if not isinstance(precision, str):
        unpacked(tmp_path / "new/repo/tower.onnx", tmp_path / "wide.onnx")
        shutil.copytree(tower, tmp_path / "wide")
        shutil.copy(tmp_path / "wide.onnx", tmp_path / "wide/repo/tower.onnx")
        assert abs(found - rows(tmp_path / "wide")).max() < 1e-4 * scale


def test_nodes_under_keep_stay(tower, tmp_path):
    composer.quantize(tower, tmp_path / "new", precision={"it": FOUR})
    model = onnx.load(tmp_path / "new/repo/tower.onnx")
    kinds = {node.op_type for node in model.graph.node if "layers.0/" in node.name}
    assert "MatMulNBits" not in kinds
    assert sum(node.op_type == "MatMulNBits" for node in model.graph.node) > 10


@pytest.mark.parametrize("mode", ["affine", "dynamic"])
def test_keep_names_one_of_the_nodes_without_names(tower, tmp_path, mode):
    """By its weight; the others are packed."""
    model = onnx.load(tower / "repo/tower.onnx")
    for node in model.graph.node:
        node.ClearField("name")
    onnx.save(model, tmp_path / "bare.onnx")
    constants = {each.name for each in model.graph.initializer}
    products = [n for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in constants]
    recipe = Quantization(8, 64, keep=(products[3].input[1],), mode=mode)
    file_precision.convert(tmp_path / "bare.onnx", tmp_path / "new.onnx", recipe)
    made = onnx.load(tmp_path / "new.onnx")
    left = [n.input[1] for n in made.graph.node if n.op_type == "MatMul"]
    assert [name for name in left if name in constants] == [products[3].input[1]]
    packed = sum(n.op_type in ("MatMulNBits", "MatMulInteger") for n in made.graph.node)
    assert packed >= len(products) - 1


def external(tower, folder):
    """Write the tower's bundle with its constants in a file beside the graph."""
    shutil.copytree(tower, folder)
    model = onnx.load(folder / "repo/tower.onnx")
    (folder / "repo/tower.onnx").unlink()
    onnx.save(
        model, folder / "repo/tower.onnx", save_as_external_data=True, location="tower.data",
        size_threshold=1000,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("precision", ["float16", EIGHT, "int8-dynamic"], ids=str)
def test_constants_beside_the_graph_are_converted_too(tower, tmp_path, precision, monkeypatch):
    bundle, asked = external(tower, tmp_path / "beside"), {"it": precision}
    wanted = rows(tower, precision=asked)
    made = composer.quantize(bundle, tmp_path / "new", precision=asked)
    assert (rows(made.path) == wanted).all()
    origins = json.loads((tmp_path / "new/quantization.json").read_text())["tensors"]
    assert [*origins["repo/tower.onnx"]["from"]] == ["repo/tower.onnx", "repo/tower.data"]
    assert not (tmp_path / "new/repo/tower.data").exists()
    monkeypatch.setattr(file_precision, "LARGEST", 1000)  # of a file of protobuf
    made = composer.quantize(bundle, tmp_path / "large", precision=asked)
    assert (tmp_path / "large/repo/tower.onnx.data").exists()
    assert (rows(made.path) == wanted).all()


def test_shapes_are_found_before_constants_are_read(tower, tmp_path, monkeypatch):
    """With them a graph may be larger than the 2 GB that protobuf writes at once."""
    bundle, sizes = external(tower, tmp_path / "beside"), []
    infer = onnx.shape_inference.infer_shapes

    def measured(model, **options):
        sizes.append(model.ByteSize())
        return infer(model, **options)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", measured)
    source = bundle / "repo/tower.onnx"
    file_precision.convert(source, tmp_path / "half.onnx", "float16")
    assert len(sizes) == 1
    assert sizes[0] < source.stat().st_size + 100_000 < (bundle / "repo/tower.data").stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "int8", "ple-safe-4bit"])
def test_a_file_that_is_larger_than_protobuf_takes(tmp_path, precision):
    """2.2 GB of products; the numbers are NumPy's, but for the rounding of 33 matrices."""
    write_onnx(tmp_path / "large/repo/lm", 2.2e9)
    (tmp_path / "large/bundle.yaml").write_text(PRODUCTS)
    made = composer.quantize(tmp_path / "large", tmp_path / "new", precision={"decoder": precision})
    x = np.random.default_rng(9).normal(size=(3, 4096)).astype("f4")
    want = x
    for number in range(33):
        want = want @ matrix(number)
    assert made.read > 2.2e9
    shutil.rmtree(tmp_path / "large")
    with composer.load(made.path, trust=True) as loaded:
        found = loaded.run(x=x).outputs["rows"]
    error = np.linalg.norm(found - want) / np.linalg.norm(want)
    assert error < {"float16": 0.01, "int8": 0.05}.get(precision, 0.6)


@pytest.mark.parametrize("precision", ["float16", EIGHT, "int8-dynamic"], ids=str)
def test_constants_that_are_cut_short_are_refused_before_anything_is_written(
    tower, tmp_path, precision
):
    bundle = external(tower, tmp_path / "beside")
    data = bundle / "repo/tower.data"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ComposerError) as caught:
        composer.quantize(bundle, tmp_path / "new", precision={"it": precision})
    (problem, *_) = caught.value.problems
    assert problem.code[0] in "WS"
    assert "tower.data" in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_child_process_runs_a_converted_file(tower):
    with composer.load(tower, precision={"it": EIGHT}) as loaded:
        assert (loaded.run(x=X).outputs["rows"] == rows(tower, precision={"it": EIGHT})).all()


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ("bfloat16", "W246 an ONNX file is not converted to bfloat16"),
        (Quantization(6), "W246 ONNX Runtime does not multiply by 6 bits, affine"),
        ("mixed-8-4", "W246 an ONNX file is packed in one number of bits"),
        (Quantization(4, 64, {"*": QuantizationRule(8, 64)}), "packed in one number of bits"),
        ("mxfp4", "W246 ONNX Runtime does not multiply by 4 bits, mxfp4"),
    ],
)
def test_what_onnx_runtime_does_not_run_is_refused(tower, precision, message):
    report = composer.check(tower, precision={"it": precision})
    assert message in "\n".join(map(str, report.problems))


def test_without_the_package_onnx_it_is_refused(tower, monkeypatch):
    monkeypatch.setattr(file_precision, "find_spec", lambda name: None)
    (problem,) = composer.check(tower, precision={"it": EIGHT}).problems
    assert str(problem).endswith(
        "R595 an ONNX file is converted by the package onnx, which is not here\n"
        "    hint: pip install 'bundle-composer[onnx]'"
    )
    assert composer.check(tower).problems == ()


def test_what_inner_graphs_read_stays(tmp_path):
    """A branch reads a matrix that is packed outside of it, and a constant."""
    floats = onnx.TensorProto.FLOAT
    rng = np.random.default_rng(0)
    w = rng.normal(0, 1, (64, 64)).astype("f4")
    constants = [numpy_helper.from_array(w, "w"), numpy_helper.from_array(w[0], "c")]
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    branches = {}
    for name, nodes in {
        "then_branch": [make("MatMul", ["y", "w"], ["m"]), make("Add", ["m", "c"], ["z"])],
        "else_branch": [make("Sub", ["y", "c"], ["z"])],
    }.items():
        branches[name] = onnx.helper.make_graph(nodes, name, [], [info("z", floats, None)])
    nodes = [make("MatMul", ["x", "w"], ["y"]), make("If", ["flag"], ["out"], **branches)]
    inputs = [info("x", floats, [2, 64]), info("flag", onnx.TensorProto.BOOL, [])]
    graph = onnx.helper.make_graph(nodes, "g", inputs, [info("out", floats, [2, 64])], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "a.onnx")
    file_precision.convert(tmp_path / "a.onnx", tmp_path / "b.onnx", EIGHT)
    x = rng.normal(0, 1, (2, 64)).astype("f4")
    for flag in (True, False):
        feeds = {"x": x, "flag": np.array(flag)}
        want, found = (
            onnxruntime.InferenceSession(str(tmp_path / name)).run(None, feeds)[0]
            for name in ("a.onnx", "b.onnx")
        )
        assert 0 < np.abs(found - want).max() < 0.02 * np.abs(want).max()
