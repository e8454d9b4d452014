"""Group D: hostile ONNX models, as the weights of a bundle that is checked, loaded and run."""

import gc
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import composer
from composer.components.onnx.library import open_session, session_options
from tests.formats.onnx_models import external, model, value, weight
from tests.formats.test_onnx_external import BAD_PLACES, linked
from tests.formats.test_onnx_refusals import HOSTILE
from tests.hostile.making import ONNX, bundle, measured

FILE = "onnx/m.onnx"
GIB = 2**30


def written(folder, made, **more):
    data = made if isinstance(made, bytes) else made.SerializeToString()
    return bundle(folder, ONNX, {FILE: data, **more})


def fed(folder, rows=2):
    np.save(folder / "x.npy", np.ones((rows, 4), np.float32))
    return ["run", folder, "-i", f"x={folder / 'x.npy'}"]


def test_the_bundle_itself_is_sound(cli, tmp_path):
    assert cli("check", written(tmp_path, model()))[0] == 0
    assert cli(*fed(tmp_path))[0] == 0


@pytest.mark.parametrize(("made", "text"), HOSTILE.values(), ids=HOSTILE)
def test_models_are_refused(error_text, tmp_path, made, text):
    """D14 to D21, and more of their kind."""
    code, _, why = text.splitlines()[0].partition(" ")
    assert f"{code} repo/{FILE}: {why}" in error_text(written(tmp_path, made), f"repo/{FILE}")


@pytest.mark.parametrize("place", BAD_PLACES.values(), ids=BAD_PLACES)
def test_external_data_elsewhere_is_refused(error_text, tmp_path, place):
    """D1 to D3, D9 and D10."""
    messages = error_text(written(tmp_path, model(weights=[external(place)])), f"repo/{FILE}")
    assert "S448 " in messages


@pytest.mark.parametrize(
    ("how", "code"),
    [
        pytest.param("device", "S400", id="D4 /dev/zero"),
        pytest.param("pipe", "S402", id="D5 a named pipe"),
        pytest.param("symlink", "S400", id="D6 a link out"),
        pytest.param("folder", "S400", id="D7 a folder that is a link"),
        pytest.param("missing", "S401", id="D8 missing"),
        pytest.param("hardlink", "S451", id="D23 a hard link"),
    ],
)
def test_external_data_that_is_no_file_of_its_own(error_text, repo, how, code):
    linked(repo, how)
    bundle(repo.path, ONNX, {})
    assert f"{code} repo/onnx/" in error_text(repo.path, "repo/onnx/")


@pytest.mark.parametrize(
    ("tensor", "code"),
    [
        pytest.param(external(offset=4, length=64), "S450", id="D11 past the end"),
        pytest.param(external(offset=-1, length=64), "S449", id="D12 a negative offset"),
        pytest.param(external(offset=2**62, length=64), "S450", id="D12 a huge offset"),
    ],
)
def test_external_data_that_does_not_fit(error_text, tmp_path, tensor, code):
    folder = written(tmp_path, model(weights=[tensor]), **{"onnx/w.data": bytes(64)})
    assert f"{code} repo/{FILE}" in error_text(folder, f"repo/{FILE}")


CONVERTER = "file_precision"


def test_d13_a_model_is_never_loaded_from_bytes():
    """With external data such a model reads files of the current folder."""

    import composer.components.onnx as package

    # a conversion that the user asks for reads a file whose external data was checked before
    paths = [path for path in Path(package.__path__[0]).glob("*.py") if path.stem != CONVERTER]
    source = "".join(path.read_text() for path in paths)
    assert "InferenceSession(" in source
    assert "to_array" not in source
    assert "read_bytes" not in source


def test_d22_an_operator_that_reads_beyond_its_weights(tmp_path):
    """In a process of its own, for the day when ONNX Runtime does not refuse it."""
    nodes = [
        helper.make_node(
            "MatMulNBits", ["x", "b", "s"], ["y"], domain="com.microsoft",
            K=4096, N=4096, bits=4, block_size=32,
        )
    ]  # fmt: skip
    stored = [
        numpy_helper.from_array(np.zeros((4, 1, 16), np.uint8), "b"),
        numpy_helper.from_array(np.zeros(4, np.float32), "s"),
    ]
    made = model(nodes, [value("x")], [value("y")], stored)
    code, messages, _ = measured(*fed(written(tmp_path, made)))
    assert code in (3, 5)
    assert f"repo/{FILE}: ONNX Runtime" in messages


def test_d24_a_loop_without_end_is_stopped(cli, tmp_path):
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["a", "a"], ["b"])],
        "body",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("a")],
        [value("on", [], TensorProto.BOOL), value("b")],
    )
    made = model(
        [helper.make_node("Loop", ["n", "c", "x"], ["y"], body=body)],
        weights=[
            numpy_helper.from_array(np.array(2**62), "n"),
            numpy_helper.from_array(np.array(True), "c"),
        ],
    )
    folder = written(tmp_path, made)
    manifest = folder / "bundle.yaml"
    manifest.write_text(ONNX.replace("batch: none", "batch: none, time_limit: 0.5"))
    code, _, err = cli(*fed(folder))
    assert code == 5, err
    assert f"R534 repo/{FILE}: stopped after 0.5 s, the time limit" in err


@pytest.mark.parametrize("shape", [[200_000, 1_000_000], [2**31 - 1, 100]], ids=["D25", "D26"])
def test_d25_d26_an_output_of_terabytes(error_text, tmp_path, shape):
    fill = helper.make_node("ConstantOfShape", ["s"], ["big"])
    add = helper.make_node("ReduceMax", ["big"], ["m"], keepdims=0)
    made = model(
        [fill, add, helper.make_node("Add", ["x", "m"], ["y"])],
        weights=[numpy_helper.from_array(np.array(shape, np.int64), "s")],
    )
    messages = error_text(written(tmp_path, made), f"repo/{FILE}")
    assert f"W269 repo/{FILE}: the node 'big' (ConstantOfShape) makes {shape}, " in messages


OTHER = helper.make_node("MatMul", ["z", "w"], ["y"])
OTHERS = {
    "D27 another name": (model([OTHER], [value("z")]), "W20"),
    "D27 another rank": (model(inputs=[value("x", ("N", 4, 4))]), "W208"),
    "D27 another dtype": (model(inputs=[value("x", dtype=TensorProto.INT64)]), "W2"),
    "D27 another width": (
        model(inputs=[value("x", ("N", 5))], weights=[weight(shape=(5, 4))]),
        "W209",
    ),
}


@pytest.mark.parametrize(("made", "code"), OTHERS.values(), ids=OTHERS)
def test_d27_ports_other_than_the_manifest_wires(error_text, tmp_path, made, code):
    assert code in error_text(written(tmp_path, made), "bundle.yaml")


def test_d28_an_output_that_is_no_number(cli, tmp_path):
    made = model(weights=[numpy_helper.from_array(np.full((4, 4), np.nan, np.float32), "w")])
    code, _, err = cli(*fed(written(tmp_path, made)))
    assert code == 5
    assert f"R536 repo/{FILE}: output y [N, 4] has 8 of 8 numbers that are NaN or infinite" in err


def test_d29_an_output_of_other_dims_than_it_declares(cli, tmp_path):
    made = model(outputs=[value("y", ("N", 3))])
    code, _, err = cli(*fed(written(tmp_path, made)))
    assert code in (3, 5)
    assert f"repo/{FILE}" in err


def test_d30_only_the_provider_that_is_asked_for(tmp_path, capfd):
    """The wheel offers others, some of which reach over the network, and would try again."""
    good, bad = tmp_path / "a.onnx", tmp_path / "b.onnx"
    good.write_bytes(model([helper.make_node("Relu", ["x"], ["y"])]).SerializeToString())
    bad.write_bytes(model([helper.make_node("Relu", ["x"], ["z"])]).SerializeToString())
    options, providers = session_options(1), ["CPUExecutionProvider"]
    assert open_session(good, options, providers).get_providers() == providers
    with pytest.raises(Exception, match="y"):
        open_session(bad, options, providers)
    assert capfd.readouterr() == ("", "")


def constant(array, name):
    return numpy_helper.from_array(np.asarray(array), name)


def shaped(*dims):
    return constant(np.array(dims, np.int64), "s")


def at_run(made):
    """Let a graph multiply its shape by a number of its input, so that no file proves it."""
    changed = type(made)()
    changed.CopyFrom(made)
    graph = changed.graph
    for tensor in graph.initializer:
        tensor.name = tensor.name.replace("s", "stated")
    first = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Cast", ["top"], ["unit"], to=TensorProto.INT64),
        helper.make_node("Mul", ["stated", "unit"], ["s"]),
    ]
    nodes = [*first, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return changed


def reduced(nodes, weights, last="big"):
    """Return a graph that reduces something large to a number, and adds it to its input."""
    add = [
        helper.make_node("ReduceMax", [last], ["m"], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    return model([*nodes, *add], weights=weights)


HUGE = {
    "expand": reduced(
        [helper.make_node("ReduceMax", ["x"], ["one"], keepdims=0),
         helper.make_node("Expand", ["one", "s"], ["big"])], [shaped(60_000, 60_000)]
    ),
    "constant of a shape": reduced(
        [helper.make_node("ConstantOfShape", ["s"], ["big"])], [shaped(70_000, 70_000)]
    ),
    "an outer product": reduced(
        [helper.make_node("ConstantOfShape", ["s"], ["a"]),
         helper.make_node("Transpose", ["a"], ["b"]),
         helper.make_node("MatMul", ["b", "a"], ["big"])], [shaped(1, 60_000)]
    ),
    "a long sum": reduced(
        [helper.make_node("ConstantOfShape", ["s"], ["a"]),
         helper.make_node("Einsum", ["a", "a"], ["big"], equation="ij,kj->ik")],
        [shaped(40_000, 40_000)],
    ),
    "tiles": reduced(
        [helper.make_node("Tile", ["x", "s"], ["big"])], [shaped(50_000, 50_000)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("made", HUGE.values(), ids=HUGE)
def test_what_shapes_prove_absurd_is_refused_by_check(error_text, tmp_path, made):
    messages = error_text(written(tmp_path, made), f"repo/{FILE}")
    assert f"W269 repo/{FILE}: the node '" in messages
    assert " GB at least" in messages


def test_functions_that_unfold_to_too_many_nodes_are_refused(error_text, tmp_path):
    """2.4 kB that ONNX Runtime would unfold for minutes."""
    functions = [
        helper.make_function(
            "ai.onnx.ml", f"f{level}", ["a"], ["z"],
            [helper.make_node(f"f{level + 1}" if level < 9 else "Identity",
                              ["a" if not n else f"t{n - 1}"], ["z" if n == 7 else f"t{n}"],
                              domain="ai.onnx.ml" if level < 9 else "")
             for n in range(8)],
            [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)],
        )
        for level in range(10)
    ]  # fmt: skip
    made = model([helper.make_node("f0", ["x"], ["y"], domain="ai.onnx.ml")], functions=functions)
    began = time.perf_counter()
    messages = error_text(written(tmp_path, made), f"repo/{FILE}")
    assert "its functions unfold to " in messages
    assert " nodes; the limit is 200000" in messages
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("made", HUGE.values(), ids=HUGE)
def test_what_is_computed_from_nothing_ends_at_its_limits(cli, tmp_path, made):
    """In the child, whatever the operator: its memory, and its time, which the bundle may lower."""
    folder = written(tmp_path, at_run(made))
    manifest = folder / "bundle.yaml"
    manifest.write_text(ONNX.replace("batch: none", "batch: none, time_limit: 5"))
    children = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    code, out, err = cli(*fed(folder), "--place", "child_memory_gb=2")
    assert (code, out) == (5, "")
    assert any(each in err for each in ("R532 ", "R533 ", "R534 ")), err
    assert "Traceback" not in err
    assert time.perf_counter() - began < 90
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - children < 500_000


def test_a_bundle_does_not_raise_its_own_limit(error_text, cli, tmp_path):
    folder = written(tmp_path, model())
    manifest = folder / "bundle.yaml"
    manifest.write_text(ONNX.replace("batch: none", "batch: none, time_limit: 86400"))
    assert "time_limit" in error_text(folder, "bundle.yaml")
    manifest.write_text(ONNX)
    assert cli(*fed(folder), "--place", "time_limit=86400")[0] == 0


def test_a_graph_that_is_not_locked_runs_in_a_child_and_gives_the_same(tmp_path):
    """Bit for bit what ONNX Runtime gives here; and a second run after the child was ended."""
    folder = written(tmp_path, model())
    values = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    with composer.load(folder) as isolated, composer.load(folder, trust=True) as here:
        graphs = [each._components.by_name["encoder"].session.graph for each in (isolated, here)]
        assert [type(graph).__name__ for graph in graphs] == ["IsolatedGraph", "LocalGraph"]
        expected = here.run(x=values).outputs["y"]
        np.testing.assert_array_equal(isolated.run(x=values).outputs["y"], expected)
        graphs[0].child.process.kill()
        with pytest.raises(composer.ComposerError, match="its process ended"):
            isolated.run(x=values)
        np.testing.assert_array_equal(isolated.run(x=values).outputs["y"], expected)
        process = graphs[0].child.process
    del graphs
    gc.collect()
    assert process.poll() is not None


PROGRAM = """
import os, signal, sys, threading, weakref
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from composer.components.onnx.{module} import {kind}
native = {kind}.{method}

def interrupted(*given):
    threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
    return native(*given)

{kind}.{method} = interrupted
kept = weakref.finalize(signal, print, "tidied")
from composer.cli import main
sys.exit(main())
"""


def minutes_at_load():
    """Return products of constants, which ONNX Runtime computes while it loads."""
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["p0"])]
    for n in range(20):
        nodes.append(helper.make_node("MatMul", [f"p{n}", "p0"], [f"p{n + 1}"]))
    return reduced(nodes, [shaped(7000, 7000)], "p20")


def minutes_at_run():
    """Return products that need the input, so that nothing of them is known before."""
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["p"]),
        helper.make_node("ReduceMax", ["x"], ["one"], keepdims=0),
        helper.make_node("Add", ["p", "one"], ["p0"]),
    ]
    for n in range(20):
        nodes.append(helper.make_node("MatMul", [f"p{n}", "p0"], [f"p{n + 1}"]))
    return reduced(nodes, [shaped(7000, 7000)], "p20")


@pytest.mark.parametrize(
    ("module", "kind", "more"),
    [
        pytest.param("isolated", "IsolatedGraph", ("--place", "child_memory_gb=20"), id="child"),
        pytest.param("in_process", "LocalGraph", ("--trust",), id="in this process"),
    ],
)
@pytest.mark.parametrize(
    ("method", "made"), [("__init__", minutes_at_load), ("run", minutes_at_run)]
)
def test_an_interrupt_ends_every_load_and_every_run(tmp_path, module, kind, more, method, made):
    """A second after the native code began: by its code, not by a signal, and without a word."""
    program = PROGRAM.format(module=module, kind=kind, method=method)
    call = [sys.executable, "-P", "-c", program, *map(str, fed(written(tmp_path, made()))), *more]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "tidied\n", "")


def with_variants(folder, count):
    names = "".join(f"  v{n}: {{summary: v{n}}}\n" for n in range(count))
    folder = written(folder, model())
    (folder / "bundle.yaml").write_text(f"{ONNX}variants:\n{names}")
    return folder


def test_many_variants_are_refused_before_each_is_checked(error_text, tmp_path):
    began = time.perf_counter()
    messages = error_text(with_variants(tmp_path, 1200), "bundle.yaml")
    assert "M101 there are 1200 variants; the limit is 100" in messages
    assert time.perf_counter() - began < 10


def test_variants_times_nodes_are_bounded(error_text, tmp_path):
    """Each variant checks each node, so that their product counts."""
    tasks = {}
    for n in range(150):
        graph = {"y": {"run": "encoder", "with": {"x": "$x"}}}
        inputs = {"x": {"type": "tensor", "port": "f32 N 4"}}
        tasks[f"t{n}"] = {"inputs": inputs, "graph": graph, "outputs": {"y": "$y"}}
    head, _, _ = ONNX.partition("inputs:")
    names = {f"v{n}": {"summary": "other"} for n in range(99)}
    folder = written(tmp_path, model())
    text = f"{head}tasks: {json.dumps(tasks)}\nvariants: {json.dumps(names)}\n"
    (folder / "bundle.yaml").write_text(text)
    messages = error_text(folder, "bundle.yaml")
    assert "M101 there are 99 variants of 150 nodes; the limit is 10000 nodes together" in messages


def test_variants_over_one_file_read_it_once(tmp_path, monkeypatch):
    from composer.formats import headers

    read, seen = headers.read_onnx_signature, []
    monkeypatch.setattr(
        headers, "read_onnx_signature", lambda *given: seen.append(1) or read(*given)
    )
    assert composer.check(with_variants(tmp_path, 12)).ok
    assert len(seen) == 1


def test_an_output_without_numbers_is_reported(cli, tmp_path):
    """A mask of nothing leaves nothing, and every number after it would be made of nothing."""
    made = model(
        [helper.make_node("Less", ["x", "x"], ["none"]),
         helper.make_node("Compress", ["x", "row"], ["y"], axis=0)],
        outputs=[value("y", ("K", 4))],
        weights=[constant(np.array([False, False]), "row")],
    )  # fmt: skip
    folder = written(tmp_path, made)
    code, out, err = cli(*fed(folder))
    assert (code, out) == (5, "")
    assert "R535 " in err
    assert "is empty, [0, 4]" in err
