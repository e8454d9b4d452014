"""What ONNX Runtime and changed files do, and what is refused of them."""

import os
import re
import subprocess
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from composer.components.onnx.graph import OnnxGraph
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components import onnx_graphs as graphs
from tests.components.onnx_graph.loading import close, load, ports, refusal, spec_of
from tests.components.onnx_graphs import constant, encoder, mel, save, value


def test_an_unknown_provider_is_refused(at):
    for name in ("CUDExecutionProvider", "AzureExecutionProvider"):
        placement = Placement(providers=(name,))
        assert refusal(load, encoder(at), placement).startswith(
            f"R531 repo/onnx/encoder.onnx: the execution provider {name} is not available\n"
            "    hint: available here: "
        )
    assert "Azure" not in refusal(load, at, Placement(providers=("x",)))


def test_only_the_chosen_providers_are_used(at):
    assert load(encoder(at)).session.graph.session.get_providers() == ["CPUExecutionProvider"]


def test_a_file_that_changed_in_place_is_refused(at):
    spec = spec_of(encoder(at), {})
    facts = OnnxGraph.facts(spec, Headers())
    size = at.stat().st_size
    encoder(at, lost=1)
    assert refusal(OnnxGraph.load, spec, facts, Placement()) == (
        f"R530 repo/onnx/encoder.onnx: changed after it was checked\n"
        f"    it had {size} bytes, now {at.stat().st_size}\n"
        "    hint: load the bundle again"
    )


def test_external_data_that_changed_is_refused(at):
    spec = spec_of(encoder(at, external=True), {})
    facts = OnnxGraph.facts(spec, Headers())
    os.utime(at.parent / "data.bin", (1, 1))
    assert refusal(OnnxGraph.load, spec, facts, Placement()) == (
        "R530 repo/onnx/data.bin: changed after it was checked\n"
        "    it was written again\n"
        "    hint: load the bundle again"
    )


def test_a_link_out_of_the_source_in_place_of_the_file_is_refused(at, tmp_path_factory):
    spec = spec_of(encoder(at), {})
    facts = OnnxGraph.facts(spec, Headers())
    outside = tmp_path_factory.mktemp("outside") / "encoder.onnx"
    at.rename(outside)
    at.symlink_to(outside)
    assert "S400 is a link that leads out of" in refusal(OnnxGraph.load, spec, facts, Placement())


def test_an_input_may_have_the_name_of_a_parameter(at):
    nodes = [helper.make_node("Add", ["self", "function"], ["y"])]
    ends = [value(name, "f32", ["n"]) for name in ("self", "function", "y")]
    graph = load(save(at, nodes, ends[:2], ends[2:]), batch="none")
    one = np.ones(2, np.float32)
    close(graph(self=one, function=one), np.full(2, 2, np.float32))


@pytest.mark.parametrize("other", [
    {"frames": 30, "rows": 15},
    {"dtype": "f16"},
    {"mask": "bool"},
    {"layout": "F M"},
])  # fmt: skip
def test_other_tensors_under_the_same_stamp_are_refused(at, other):
    spec = spec_of(encoder(at, frames=20, rows=10), {})
    facts = OnnxGraph.facts(spec, Headers())
    encoder(at, **{"frames": 20, "rows": 10, **other})
    object.__setattr__(facts, "stamps", ())
    message = refusal(OnnxGraph.load, spec, facts, Placement())
    assert message.startswith("R530 repo/onnx/encoder.onnx: changed after it was checked\n")
    assert "    checked inputs: input_features f32 [1, 3, 20]\n    loaded inputs: " in message


def test_a_file_that_onnx_runtime_refuses(at):
    nodes = [helper.make_node("Relu", ["x"], ["y"], surplus=1)]
    path = save(at, nodes, [value("x", "f32", [1, "n"])], [value("y", "f32", [1, "n"])])
    message = refusal(load, path)
    assert message.startswith(
        "R532 repo/onnx/encoder.onnx: ONNX Runtime cannot load it: INVALID_GRAPH: "
    )
    assert "\n" not in message


def test_a_failing_node_is_reported_in_one_line(at):
    path = save(
        at,
        [helper.make_node("Gather", ["x", "ids"], ["y"], axis=0)],
        [value("x", "f32", [3]), value("ids", "i64", [2])],
        [value("y", "f32", [2])],
    )
    message = refusal(load(path), x=np.ones(3, np.float32), ids=np.array([0, 9]))
    assert message.startswith(
        "R533 repo/onnx/encoder.onnx: ONNX Runtime failed: INVALID_ARGUMENT: "
    )
    assert message.splitlines()[1:] == ["    fed x float32 [3], ids int64 [2]"]


def test_a_graph_without_end_is_stopped(at):
    graph = load(graphs.loop(at, 2**62), time_limit=0.3)
    began = time.perf_counter()
    message = refusal(graph, x=np.ones(4, np.float32))
    assert time.perf_counter() - began < 10
    assert message == (
        "R534 repo/onnx/encoder.onnx: stopped after 0.3 s, the time limit\n"
        "    fed x float32 [4]\n"
        "    hint: if you trust it: --place time_limit=SECONDS"
    )
    close(load(graphs.loop(at, 3))(x=np.full(4, 2, np.float32)), np.full(4, 16, np.float32))


def test_an_output_of_another_type_is_not_called_a_stale_shape(at, monkeypatch):
    graph = load(encoder(at))
    found = graph.session.run
    monkeypatch.setattr(
        graph.session,
        "run",
        lambda feeds: {name: each.astype(np.float64) for name, each in found(feeds).items()},
    )
    assert refusal(graph, input_features=mel(4)) == (
        "R535 repo/onnx/encoder.onnx: output audio_embeds [1, n_rows, 4] came out as float64, but "
        "is f32\n"
        "    fed input_features float32 [1, 3, 4]"
    )


def test_numbers_that_are_not_finite_are_refused(at):
    graph = load(encoder(at, divisor=0.0))
    assert refusal(graph, input_features=mel(4)) == (
        "R536 repo/onnx/encoder.onnx: output audio_embeds [1, n_rows, 4] has 8 of 8 numbers that "
        "are NaN or infinite\n"
        "    none in its inputs\n"
        "    fed input_features float32 [1, 3, 4]"
    )
    x = mel(4)
    x[0, 3] = np.nan
    message = refusal(load(encoder(at)), input_features=x)
    assert "has 4 of 8 numbers" in message
    assert "\n    already in its inputs: input_features\n" in message


@pytest.mark.parametrize("wrong", [mel(4).astype(np.float64), mel(4)[None]])
def test_the_executor_owes_dtype_and_rank(at, wrong):
    graph = load(encoder(at))
    with pytest.raises(AssertionError):
        graph(input_features=wrong)


def test_every_code_has_a_page():
    root = Path(__file__).parents[3]
    sources = "".join(p.read_text() for p in (root / "components" / "onnx").glob("*.py"))
    codes = set(re.findall(r'"([WR]\d{3})"', sources))
    assert len(codes) >= 20
    for code in codes:
        page = (root / "docs" / "errors" / f"{code}.md").read_text()
        assert page.startswith(f"# {code} ")


MEASURE = """
import sys
from pathlib import Path
import numpy, onnxruntime
from composer.core.component import Spec
from composer.components.onnx.graph import STALE, OnnxGraph
from composer.formats import Headers
from composer.core.location import Location
from composer.core.placement import Placement
junk = [numpy.ones(2_000_000) for _ in range(3)]
del junk  # as in any process, glibc has by now raised its thresholds

def peak():  # of this program alone: ru_maxrss would begin at the parent's
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0]) * 1024

before = peak()
spec = Spec("x", OnnxGraph.Config(), weights=Location("repo", "x.onnx", Path(sys.argv[1])))
facts = OnnxGraph.facts(spec, Headers())
graph = OnnxGraph.load(spec, facts, Placement(threads=1))
print((peak() - before) / facts.nbytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_load_peaks_little_above_the_weights(tmp_path):
    # blocks of 4 and 16 MB by turns: left to itself, glibc ends a third above the weights
    widths = [*[1024, 1024, 1024, 1024, 4096] * 6, 1024]
    sizes = list(pairwise(widths))
    random = np.random.default_rng(0)
    save(
        tmp_path / "x.onnx",
        [helper.make_node("MatMul", [f"v{i}", f"w{i}"], [f"v{i + 1}"]) for i in range(len(sizes))],
        [value("v0", "f32", [1, "n", 1024])],
        [value(f"v{len(sizes)}", "f32", [1, "n", 1024])],
        [
            constant(f"w{i}", random.standard_normal(size, np.float32))
            for i, size in enumerate(sizes)
        ],
    )
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert 0.8 < float(peak) < 1.15


def test_an_encoder_exported_by_torch(at):
    torch = pytest.importorskip("torch")

    class Stem(torch.nn.Module):
        """Chunks of 100 frames through three convolutions of stride 2, 13 rows each."""

        def __init__(self):
            super().__init__()
            self.convolutions = torch.nn.ModuleList(
                torch.nn.Conv2d(a, 4, 3, stride=2, padding=1) for a in (1, 4, 4)
            )
            self.out = torch.nn.Linear(4 * 2, 6)

        def forward(self, x, marks):
            x = (x * marks[:, None]).reshape(16, -1, 100).transpose(0, 1)[:, None]
            for convolution in self.convolutions:
                x = torch.nn.functional.gelu(convolution(x))
            x = x.permute(0, 3, 1, 2).reshape(1, -1, 4 * 2)
            return self.out(x)

    torch.manual_seed(0)
    stem = Stem().eval()
    at.parent.mkdir()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            stem,
            (torch.zeros(1, 16, 300), torch.ones(1, 300)),
            str(at),
            dynamo=False,
            opset_version=17,
            input_names=["input_features", "feature_attention_mask"],
            output_names=["audio_embeds"],
            dynamic_axes={
                "input_features": {2: "n_frames"},
                "feature_attention_mask": {1: "n_frames"},
                "audio_embeds": {1: "n_rows"},
            },
        )
    config = {
        "inputs": {"input_features": {"pad": {"multiple_of": 100}}},
        "mask": {"input": "feature_attention_mask"},
        "rows": {"chunk": 100, "stride": 8},
    }
    assert ports(at, **config) == (
        {
            "input_features": "f32 16 input_features_frames",
            "valid": "bool input_features_frames",
        },
        {"out": "f32 n_rows 6"},
    )
    graph = load(at, **config)
    for frames in (1, 61, 100, 101, 237, 400):
        x = np.random.default_rng(frames).standard_normal((16, frames)).astype(np.float32)
        padded = np.pad(x, ((0, 0), (0, -frames % 100)))
        with torch.no_grad():
            marks = torch.ones(1, padded.shape[1])
            expected = stem(torch.from_numpy(padded)[None], marks)[0].numpy()
        rows = 13 * (frames // 100) + -(-(frames % 100) // 8)
        np.testing.assert_allclose(graph(input_features=x), expected[:rows], atol=1e-5)
