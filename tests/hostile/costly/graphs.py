"""Graphs of ONNX that compute without end, or gigabytes from nothing."""

import numpy as np
from onnx import TensorProto, helper

from tests.formats.onnx_models import model, value
from tests.formats.test_onnx_refusals import HOSTILE
from tests.hostile.costly.case import graph_check, graph_run
from tests.hostile.test_onnx import HUGE, at_run, constant, reduced


def filled(name, *shape):
    """Return a node and an initializer that make a tensor of ones from nothing."""
    return (
        helper.make_node("ConstantOfShape", [f"{name}.shape"], [name],
                         value=helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])),
        constant(np.array(shape, np.int64), f"{name}.shape"),
    )  # fmt: skip


def grown(name, *shape):
    """Return nodes that make a tensor whose shape no file proves, and their initializer."""
    fill, stated = filled(name, *shape)
    stated.name = f"{name}.stated"
    first = [
        helper.make_node("ReduceMax", ["x"], [f"{name}.top"], keepdims=0),
        helper.make_node("Cast", [f"{name}.top"], [f"{name}.unit"], to=TensorProto.INT64),
        helper.make_node("Mul", [stated.name, f"{name}.unit"], [f"{name}.shape"]),
    ]
    return [*first, fill], stated


def computed(op, *tensors, output="big", outputs=None, weights=(), **attributes):
    """Return a graph of one operator over tensors of ones, whose result is reduced to a number."""
    nodes, stored = [], list(weights)
    for name, shape in tensors:
        made, shaped_by = grown(name, *shape)
        nodes += made
        stored.append(shaped_by)
    names = [name for name, _ in tensors] + [each.name for each in weights]
    nodes.append(helper.make_node(op, names, outputs or [output], **attributes))
    return reduced(nodes, stored, output)


def loop(body_nodes, body_outputs=(), trips=2**62):
    """Return a graph of one loop."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), *body_nodes],
        "body",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("a", None)],
        [value("on", [], TensorProto.BOOL), value("b", None), *body_outputs],
    )
    outputs = ["z", *(f"scan{n}" for n in range(len(body_outputs)))]
    made = [helper.make_node("Loop", ["n", "c", "x"], outputs, body=body)]
    if body_outputs:
        made.append(helper.make_node("Size", ["scan0"], ["size"]))
        made.append(helper.make_node("Cast", ["size"], ["count"], to=TensorProto.FLOAT))
    else:
        made.append(helper.make_node("ReduceMax", ["z"], ["count"], keepdims=0))
    made.append(helper.make_node("Add", ["x", "count"], ["y"]))
    return model(made, weights=[constant(np.array(trips), "n"), constant(np.array(True), "c")])


def nested_loops(depth=6, trips=100_000):
    """Return loops in loops."""
    inner = [helper.make_node("Identity", ["a"], ["b"])]
    for level in range(depth):
        body = helper.make_graph(
            [helper.make_node("Identity", [f"go{level}"], [f"on{level}"]), *inner],
            "body",
            [value(f"i{level}", [], TensorProto.INT64), value(f"go{level}", [], TensorProto.BOOL),
             value("a" if not level else f"a{level}", None)],
            [value(f"on{level}", [], TensorProto.BOOL),
             value("b" if not level else f"b{level}", None)],
        )  # fmt: skip
        source = f"a{level + 1}" if level < depth - 1 else "x"
        result = f"b{level + 1}" if level < depth - 1 else "y"
        inner = [helper.make_node("Loop", ["n", "c", source], [result], body=body)]
    return model(inner, weights=[constant(np.array(trips), "n"), constant(np.array(True), "c")])


def functions(levels=10, calls=8):
    """Return functions that call functions."""
    made = []
    for level in range(levels):
        last = level == levels - 1
        nodes = [
            helper.make_node("Identity" if last else f"f{level + 1}",
                             ["a" if not n else f"t{n - 1}"],
                             ["z" if n == calls - 1 else f"t{n}"],
                             domain="" if last else "ai.onnx.ml")
            for n in range(calls)
        ]  # fmt: skip
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
        made.append(helper.make_function("ai.onnx.ml", f"f{level}", ["a"], ["z"], nodes, opsets))
    return model([helper.make_node("f0", ["x"], ["y"], domain="ai.onnx.ml")], functions=made)


def folded():
    """Return products of constants, which ONNX Runtime computes while it loads."""
    nodes, stored = [], []
    fill, stated = filled("a", 7000, 7000)
    nodes.append(fill)
    stored.append(stated)
    last = "a"
    for n in range(20):
        nodes.append(helper.make_node("MatMul", [last, "a"], [f"p{n}"]))
        last = f"p{n}"
    return reduced(nodes, stored, last)


def recurrent(op, gates):
    """Return a recurrent network over 10^8 steps of one number."""
    one = [constant(np.ones((1, gates, 1), np.float32), name) for name in ("w", "r")]
    return computed(op, ("seq", (10**8, 1, 1)), outputs=["", "big"], weights=one, hidden_size=1)


def doubled(times=40):
    """Return a tensor that is joined to itself again and again."""
    nodes, last = [helper.make_node("Reshape", ["x", "flat"], ["d"])], "d"
    for n in range(times):
        nodes.append(helper.make_node("Concat", [last, last], [f"d{n}"], axis=0))
        last = f"d{n}"
    return reduced(nodes, [constant(np.array([-1]), "flat")], last)


def suppressed():
    """Return a suppression of 400 000 boxes, each compared with each."""
    boxes, scores = ("boxes", (1, 400_000, 4)), ("scores", (1, 1, 400_000))
    weights = [constant(np.array(2**40), "most"), constant(np.float32(1.0), "overlap")]
    graph = computed("NonMaxSuppression", boxes, scores, output="picked", weights=weights)
    nodes = graph.graph.node
    at = next(n for n, node in enumerate(nodes) if node.op_type == "ReduceMax"
              and node.input[0] == "picked")  # fmt: skip
    nodes.insert(at, helper.make_node("Cast", ["picked"], ["as"], to=TensorProto.FLOAT))
    nodes[at + 1].input[0] = "as"
    return graph


RUN = {
    **{f"{name}, its shape known at run": at_run(made) for name, made in HUGE.items()},
    "a loop without end": lambda: loop([helper.make_node("Add", ["a", "a"], ["b"])]),
    "a loop without nodes": lambda: loop([helper.make_node("Identity", ["a"], ["b"])]),
    "a loop that collects": lambda: loop(
        [helper.make_node("Identity", ["a"], ["b"]), helper.make_node("Identity", ["a"], ["s"])],
        [value("s", None)],
    ),
    "a loop that doubles": lambda: loop([helper.make_node("Concat", ["a", "a"], ["b"], axis=0)]),
    "six nested loops": nested_loops,
    "an LSTM of 10^8 steps": lambda: recurrent("LSTM", 4),
    "a GRU of 10^8 steps": lambda: recurrent("GRU", 3),
    "an RNN of 10^8 steps": lambda: recurrent("RNN", 1),
    "a product of 40 000": lambda: computed(
        "MatMul", ("a", (40_000, 9_000)), ("b", (9_000, 40_000))
    ),
    "a slow product in bounds": lambda: computed(
        "MatMul", ("a", (15_000, 15_000)), ("b", (15_000, 15_000))
    ),
    "a convolution over a wide kernel": lambda: computed(
        "Conv", ("a", (1, 1, 4_000_000)), ("k", (1, 1, 2_000_000))
    ),
    "a suppression of 400 000 boxes": suppressed,
    "a sum of 10^10 in turns": lambda: computed(
        "Einsum", ("a", (3_000, 3_000)), ("b", (3_000, 3_000)), equation="ij,kl->",
    ),
    "doubled forty times": doubled,
    "constants folded at load": folded,
    "a pad of 2 000 000 000": lambda: computed(
        "Pad", ("a", (1,)), weights=[constant(np.array([0, 2 * 10**9]), "pads")]
    ),
    "resized to 50 000 by 50 000": lambda: computed(
        "Resize", ("a", (1, 1, 1, 1)),
        weights=[constant(np.zeros(0, np.float32), "roi"),
                 constant(np.array([1, 1, 5e4, 5e4], np.float32), "scales")],
    ),
    "the top of 10^9": lambda: computed(
        "TopK", ("a", (5 * 10**8,)), outputs=["big", "at"],
        weights=[constant(np.array([5 * 10**8]), "k")],
    ),
}  # fmt: skip
CHECKED = {
    **{name: made for name, (made, _) in HOSTILE.items()},
    **HUGE,
    "functions that unfold": functions,
}
GRAPHS = {
    **{name: graph_check(data) for name, data in CHECKED.items()},
    **{name: graph_run(data) for name, data in RUN.items()},
}
