"""Shapes that a file proves, against ONNX's own inference; what is absurd is refused."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from composer.core.errors import ComposerError
from composer.formats import onnx_costs
from composer.formats.onnx_costs import Costs, inlined_node_count
from tests.formats.onnx_models import model, read, value


def stored(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs, [output], name=f"the {output}", **attributes)


LONG = np.int64
A, B = stored("a", np.zeros((2, 3), np.float32)), stored("b", np.zeros((3, 5), np.float32))
SOUND = {
    "matmul": ([node("MatMul", ["a", "b"], "c")], [A, B]),
    "gemm": ([node("Gemm", ["b", "a"], "c", transA=1, transB=1)], [A, B]),
    "batched": (
        [node("ConstantOfShape", ["s"], "t"), node("MatMul", ["t", "b"], "c")],
        [stored("s", np.array([7, 1, 4, 3], LONG)), B],
    ),
    "broadcast": (
        [node("Transpose", ["a"], "t"), node("Unsqueeze", ["t", "s"], "u"),
         node("Add", ["u", "t"], "c")],
        [A, stored("s", np.array([1], LONG))],
    ),
    "expand": ([node("Expand", ["a", "s"], "c")], [A, stored("s", np.array([4, 1, 3], LONG))]),
    "tile": ([node("Tile", ["a", "s"], "c")], [A, stored("s", np.array([4, 2], LONG))]),
    "pad": ([node("Pad", ["a", "s"], "c")], [A, stored("s", np.array([1, 0, 2, 5], LONG))]),
    "reshape": ([node("Reshape", ["a", "s"], "c")], [A, stored("s", np.array([3, -1], LONG))]),
    "range": (
        [node("Range", ["i", "j", "k"], "c")],
        [stored("i", LONG(3)), stored("j", LONG(20)), stored("k", LONG(5))],
    ),
    "shape": ([node("Shape", ["a"], "s"), node("Expand", ["v", "s"], "c")],
              [A, stored("v", np.float32(1))]),
    "concat": (
        [node("Shape", ["a"], "s"), node("Concat", ["s", "s"], "t", axis=0),
         node("ConstantOfShape", ["t"], "c")], [A],
    ),
    "constant": (
        [node("Constant", [], "s", value_ints=[4, 6]), node("ConstantOfShape", ["s"], "c")], [],
    ),
    "constant tensor": (
        [node("Constant", [], "s", value=stored("", np.array([4, 6], LONG))),
         node("ConstantOfShape", ["s"], "c")], [],
    ),
    "cast": ([node("Cast", ["a"], "t", to=TensorProto.DOUBLE), node("Relu", ["t"], "c")], [A]),
    "einsum": ([node("Einsum", ["a", "b"], "c", equation="ij, jk -> ki")], [A, B]),
    "one hot": (
        [node("OneHot", ["i", "d", "v"], "c")],
        [stored("i", np.zeros((2, 3), LONG)), stored("d", LONG(9)),
         stored("v", np.zeros(2, np.float32))],
    ),
    "compare": ([node("Less", ["a", "a"], "c")], [A]),
}  # fmt: skip


def whole(nodes, weights):
    """Return a model whose output does not depend on what is worked out."""
    return model(
        [*nodes, helper.make_node("Identity", ["x"], ["y"])], [value("x")], [value("y")], weights
    )


@pytest.mark.parametrize(("nodes", "weights"), SOUND.values(), ids=SOUND)
def test_shapes_are_those_that_onnx_infers(monkeypatch, nodes, weights):
    found = {}
    visit = Costs.visit

    def seen(self, call, outputs):
        visit(self, call, outputs)
        found.update(self.values)

    monkeypatch.setattr(Costs, "visit", seen)
    made = whole(nodes, weights)
    read(made)
    inferred = shape_inference.infer_shapes(made, data_prop=True, strict_mode=True)
    shapes = {each.name: each.type.tensor_type for each in inferred.graph.value_info}
    expected = shapes["c"]
    dims = tuple(dim.dim_value for dim in expected.shape.dim)
    assert found["c"].lengths == dims
    size = np.dtype(helper.tensor_dtype_to_np_dtype(expected.elem_type)).itemsize
    assert found["c"].bits == 8 * size


ABSURD = {
    "a product of products": (
        [node("ConstantOfShape", ["s"], "t"), node("MatMul", ["t", "t"], "big")],
        [stored("s", np.array([30_000, 30_000], LONG))],
    ),
    "a pad": ([node("Pad", ["a", "s"], "big")],
              [A, stored("s", np.array([0, 0, 10**6, 10**6], LONG))]),
    "one of many": ([node("OneHot", ["i", "d", "v"], "big")],
                    [stored("i", np.zeros(1000, LONG)), stored("d", LONG(10**9)),
                     stored("v", np.zeros(2, np.float32))]),
    "a range": ([node("Range", ["i", "j", "k"], "big")],
                [stored("i", LONG(0)), stored("j", LONG(10**12)), stored("k", LONG(1))]),
    "a size": ([node("Resize", ["a", "", "", "s"], "big")],
               [A, stored("s", np.array([10**5, 10**5], LONG))]),
    "added to a row": (
        [node("ConstantOfShape", ["s"], "t"), node("Transpose", ["t"], "u"),
         node("Add", ["t", "u"], "big")], [stored("s", np.array([1, 10**5], LONG))],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "weights"), ABSURD.values(), ids=ABSURD)
def test_what_is_absurd_is_refused_with_its_node(monkeypatch, nodes, weights):
    monkeypatch.setattr(onnx_costs, "MOST_PRODUCTS", 10**13)
    with pytest.raises(ComposerError) as caught:
        read(whole(nodes, weights))
    (problem,) = caught.value.problems
    assert problem.code == "W269"
    assert problem.message.startswith("the node 'the big' (")


def heavy(count, name="s"):
    """Return nodes of 2**29 numbers each, which take as long as 1.6e11 multiplications."""
    nodes = [node("Neg", ["filled"], f"{name}{number}") for number in range(count)]
    return [node("ConstantOfShape", ["s"], "filled"), *nodes]


SIZE = stored("s", np.array([2**15, 2**14], LONG))


def test_nodes_that_are_too_much_together_are_refused(monkeypatch):
    monkeypatch.setattr(onnx_costs, "MOST_PRODUCTS", 10**13)
    product = node("MatMul", ["b", "b"], "product")
    small = stored("b", np.zeros((4000, 4000), np.float16))
    read(whole([*heavy(58), product], [SIZE, small]))
    with pytest.raises(ComposerError) as caught:
        read(whole([*heavy(65), product], [SIZE, small]))
    (problem,) = caught.value.problems
    assert problem.code == "W269"
    assert problem.message == (
        "its nodes take as long together as 1.1e+13 multiplications at least, most of them 1.6e+11 "
        "the node 'the filled' (ConstantOfShape), 1.6e+11 the node 'the s0' (Neg), 1.6e+11 the "
        "node 'the s1' (Neg)"
    )
    assert "a shape is wrong" in problem.hint


def test_nodes_of_a_function_count_at_each_call(monkeypatch):
    monkeypatch.setattr(onnx_costs, "MOST_PRODUCTS", 10**13)
    size = node("Constant", [], "s", value_ints=[2**15, 2**14])
    body = [size, *heavy(5, "t"), helper.make_node("Identity", ["a"], ["z"])]
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("ai.onnx.ml", "f", ["a"], ["z"], body, opsets)

    def calling(times):
        calls = [
            helper.make_node("f", [f"v{n}"], [f"v{n + 1}"], domain="ai.onnx.ml")
            for n in range(times)
        ]
        ends = [helper.make_node("Identity", ["x"], ["v0"])]
        ends.append(helper.make_node("Identity", [f"v{times}"], ["y"]))
        made = model([*calls, *ends], [value("x")], [value("y")], [], functions=[function])
        made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
        return made

    read(calling(10))
    with pytest.raises(ComposerError) as caught:
        read(calling(11))
    (problem,) = caught.value.problems
    assert problem.code == "W269"
    assert "1.6e+11 the node 'the filled' (ConstantOfShape) in each f" in problem.message


def test_a_node_that_is_too_much_is_reported_once(monkeypatch):
    monkeypatch.setattr(onnx_costs, "MOST_PRODUCTS", 10**11)
    weights = [stored("b", np.zeros((5000, 5000), np.float16)), SIZE]
    with pytest.raises(ComposerError) as caught:
        read(whole([node("MatMul", ["b", "b"], "big"), *heavy(9)], weights))
    (problem,) = caught.value.problems
    assert problem.message.startswith("the node 'the big' (MatMul) takes 1.2e+11 multiplications")


def test_what_a_run_gives_is_not_guessed():
    nodes = [node("Shape", ["x"], "s"), node("ConstantOfShape", ["s"], "big")]
    read(whole(nodes, []))


def test_a_large_file_may_make_what_it_stores():
    """A table of embeddings that is turned is as large as the table."""
    table = onnx.TensorProto(name="w", dims=(300_000, 4096), data_type=TensorProto.FLOAT)
    table.data_location = TensorProto.EXTERNAL
    table.external_data.add(key="location", value="w.data")
    with pytest.raises(ComposerError) as caught:
        read(whole([node("Transpose", ["w"], "t")], [table]))
    assert {problem.code for problem in caught.value.problems} == {"S401"}  # the file is not here


def test_nodes_of_functions_are_counted_wherever_they_are_called():
    one, two, three = ("", "one"), ("", "two"), ("", "three")
    calls = {one: {two: 2, ("", "Add"): 1}, two: {three: 3}, three: {("", "Mul"): 5}}
    assert inlined_node_count({one: 10, ("", "Add"): 4}, calls) == 4 + 10 * (
        1 + 1 + 2 * (1 + 3 * 6)
    )
    assert inlined_node_count({one: 1}, {one: {one: 2}}) > 0  # a cycle, which is refused elsewhere
