"""Operators on rows, on NumPy's and MLX's own arrays, against PyTorch; and what they refuse."""

import mlx.core as mx
import numpy as np
import pytest
import torch
from torch.nn import functional

import composer
from composer.components.mlx.backend import MlxBackend
from composer.core import registry
from composer.core.backend import NumpyArrays
from composer.core.errors import ComposerError
from tests.fakes import write

BACKENDS = {"numpy": NumpyArrays(), "mlx": MlxBackend()}
X = np.random.default_rng(0).normal(size=(11, 6)).astype(np.float32)


def run(backend, name, *, dtype="f32", **given):
    """Run an operator on the arrays of a backend, and return NumPy's."""
    made = BACKENDS[backend]
    arrays = {key: convert(made, value, dtype) for key, value in given.items()}
    out = registry.operator(name)(made, **arrays)
    assert registry.backend_of(out).name == backend
    assert made.dtype(out) == dtype
    return made.to_numpy(out)


def convert(backend, value, dtype):
    if isinstance(value, list):
        return tuple(convert(backend, each, dtype) for each in value)
    if not isinstance(value, np.ndarray) or value.dtype == bool:
        return value
    return backend.from_numpy(value, dtype)


@pytest.fixture(params=BACKENDS)
def on(request):
    return request.param


@pytest.mark.parametrize("by", [1, 2, 4, 11, 12])
def test_stack_frames_pads_as_ultravox_does(on, by):
    # transformers' UltravoxStackAudioFrames: pad at the end, then view as wider rows.
    x = torch.tensor(X)[None]
    padded = functional.pad(x, (0, 0, 0, -x.shape[1] % by))
    want = padded.view(1, padded.shape[1] // by, 6 * by)[0]
    got = run(on, "stack_frames", x=X, by=by, remainder="pad")
    assert np.array_equal(got, want)


@pytest.mark.parametrize("by", [1, 2, 5])
def test_stack_frames_drops_as_slam_asr_does(on, by):
    # SLAM-ASR's EncoderProjectorConcat: cut the rest off, then view as wider rows.
    cut = torch.tensor(X)[: 11 - 11 % by].contiguous()
    got = run(on, "stack_frames", x=X, by=by, remainder="drop")
    assert np.array_equal(got, cut.view(-1, 6 * by))
    interleaved = cut.view(-1, by, 6).transpose(1, 2).reshape(-1, 6 * by)
    assert by == 1 or not np.array_equal(got, interleaved)


@pytest.mark.parametrize(("remainder", "ceil"), [("drop", False), ("keep", True)])
@pytest.mark.parametrize("by", [1, 2, 3, 4, 11])
@pytest.mark.parametrize("mode", ["mean", "max"])
def test_pool(on, mode, by, remainder, ceil):
    x = torch.tensor(X).T[None]
    pooled = {
        "mean": functional.avg_pool1d(x, by, ceil_mode=ceil, count_include_pad=False),
        "max": functional.max_pool1d(x, by, ceil_mode=ceil),
    }
    got = run(on, "pool", x=X, by=by, mode=mode, remainder=remainder)
    np.testing.assert_allclose(got, pooled.pop(mode)[0].T, atol=1e-6)
    if by > 1:
        (other,) = pooled.values()
        assert np.abs(got - other[0].T.numpy()).max() > 0.1


@pytest.mark.parametrize("mode", ["mean", "max"])
@pytest.mark.parametrize("count", [1, 11])
def test_pool_of_all_rows(on, mode, count):
    got = run(on, "pool", x=X[:count], by="all", mode=mode)
    np.testing.assert_allclose(got, getattr(X[:count], mode)(axis=0, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_pooled_halves_are_summed_wider(dtype):
    rows = np.full((4096, 1), 1.0, np.float32)  # 2048 and 256 are where counting by ones ends
    for name in ("mlx", "numpy"):
        if (name, dtype) != ("numpy", "bf16"):
            got = run(name, "pool", dtype=dtype, x=rows, by=4096)
            assert got.tolist() == [[1.0]]


def test_concat(on):
    parts = [X, X[:0], X[3:5]]
    got = run(on, "concat", values=parts)
    assert np.array_equal(got, np.concatenate(parts))
    assert np.array_equal(run(on, "concat", values=[X]), X)


def test_keep(on):
    at = np.arange(11) % 3 == 1
    assert np.array_equal(run(on, "keep", x=X, at=at), torch.tensor(X)[torch.tensor(at)])
    assert run(on, "keep", x=X, at=np.zeros(11, bool)).shape == (0, 6)


@pytest.mark.parametrize(("start", "stop"), [(0, None), (1, None), (-3, None), (2, 5), (0, -1)])
def test_slice(on, start, stop):
    assert np.array_equal(run(on, "slice", x=X, start=start, stop=stop), X[start:stop])


def test_row(on):
    assert np.array_equal(run(on, "row", x=X[0]), X[:1])


def test_transpose(on):
    assert np.array_equal(run(on, "transpose", x=X), X.T)


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        (
            "stack_frames",
            {"by": 4},
            "stack_frames cannot group 11 rows by 4: 3 left over; say under 'remainder' what "
            "becomes of them",
        ),
        (
            "pool",
            {"by": 2},
            "pool cannot group 11 rows by 2: 1 left over; say under 'remainder' what becomes "
            "of them",
        ),
        (
            "pool",
            {"by": 12, "remainder": "drop"},
            "pool would drop all 11 rows: there are fewer than 12",
        ),
        ("slice", {"start": 11}, "slice cannot take rows 11 to the end of 11"),
        ("slice", {"start": -12}, "slice cannot take rows -12 to the end of 11"),
        ("slice", {"stop": 12}, "slice cannot take rows 0 to 12 of 11"),
        ("slice", {"start": 5, "stop": 5}, "slice cannot take rows 5 to 5 of 11"),
    ],
)
def test_what_they_cannot_take(on, name, options, why, tmp_path):
    registered = registry.operator(name)
    with pytest.raises(ComposerError) as caught:
        run(on, name, x=X, **registered.options(options))
    assert str(caught.value) == f"R506 {why}"


BUNDLE = """\
composer: 1
name: rows
components: {}
inputs:
  x: {type: tensor, port: f32 1500 80}
  y: {type: tensor, port: f32 30 80}
  free: {type: tensor, port: f32 N 80}
graph:
  out: NODE
outputs: {out: $out}
"""


def checked(folder, node):
    report = composer.check(write(folder, BUNDLE, ("NODE", node)))
    return report, [str(p).split(": ", 1)[1] for p in report.problems if p.severity == "error"]


@pytest.mark.parametrize(
    ("node", "lengths"),
    [
        ("{run: stack_frames, with: {x: $x, by: 4}}", [375, 320]),
        ("{run: stack_frames, with: {x: $x, by: 8, remainder: pad}}", [188, 640]),
        ("{run: stack_frames, with: {x: $free, by: 8, remainder: pad}}", [None, 640]),
        ("{run: pool, with: {x: $x, by: 2}}", [750, 80]),
        ("{run: pool, with: {x: $free, by: 2}}", [None, 80]),
        ("{run: pool, with: {x: $free, by: all}}", [1, 80]),
        ("{run: concat, with: {values: [$x, $y, $y]}}", [1560, 80]),
        ("{run: concat, with: {values: [$x, $free]}}", [None, 80]),
        ("{run: slice, with: {x: $x, start: -750}}", [750, 80]),
        ("{run: transpose, with: {x: $x}}", [80, 1500]),
    ],
)
def test_lengths_are_known_before_a_run(tmp_path, node, lengths):
    report, errors = checked(tmp_path, node)
    assert errors == []
    graph = report.bundle.graphs["default"]
    assert [graph.length(dim) for dim in graph.values["out"].dims] == lengths


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            "{run: pool, with: {x: $x, by: 7}}",
            "W229 pool cannot group 1500 rows by 7: 2 left over; say under 'remainder' what "
            "becomes of them",
        ),
        ("{run: slice, with: {x: $y, stop: 31}}", "W229 slice cannot take rows 0 to 31 of 30"),
        ("{run: pool, with: {x: $x}}", "W204 pool needs the option 'by'\n"
         "    hint: add it under 'with'; composer explain pool describes it"),
        (
            "{run: pool, with: {x: $x, by: 2, mode: median}}",
            "W216 option 'mode' should be 'mean' or 'max', not 'median'",
        ),
        ("{run: concat, with: {values: $x}}",
         "W205 concat.values needs a list of $references, not '$x'\n    hint: write [$x]"),
        ("{run: concat, with: {values: []}}",
         "W205 concat.values needs a list of $references, not an empty list"),
        ("{run: concat, with: {values: [$x, 3]}}",
         "W205 concat.values[1] needs a $reference to 'N1 80 @S', not the number 3"),
        ("{run: concat, with: {values: [$x, $z]}}",
         "W206 '$z' is not defined above this node\n"
         "    hint: defined here: $x, $y, $free"),
        ("{run: pool, with: {x: [$x], by: 2}}",
         "W205 pool.x needs a $reference to 'T D @S', not a list\n    hint: write $x"),
    ],
)  # fmt: skip
def test_what_is_refused_before_a_run(tmp_path, node, message):
    assert checked(tmp_path, node)[1] == [message]


def test_the_widths_of_joined_rows_agree(tmp_path):
    text = BUNDLE.replace("f32 30 80", "f32 30 64")
    path = write(tmp_path, text, ("NODE", "{run: concat, with: {values: [$x, $y]}}"))
    (problem,) = [p for p in composer.check(path).problems if p.severity == "error"]
    assert str(problem).split(": ", 1)[1] == (
        "W209 axis 1 of $y is 64 but concat.values[1] needs 80\n"
        "    64 comes from the input y: 'f32 30 64'\n"
        "    80 comes from the input x: 'f32 1500 80'\n"
        "    hint: put a projector between them, or use parts that were trained together"
    )
    assert (problem.place.line, problem.place.column) == (9, 42)


def test_a_run_joins_rows_of_two_backends(tmp_path):
    path = write(tmp_path, BUNDLE, ("NODE", "{run: concat, with: {values: [$free, $y]}}"))
    free, y = np.ones((2, 80), np.float32), np.zeros((30, 80), np.float32)
    with composer.load(path) as bundle:
        out = bundle.run(x=np.zeros((1500, 80), np.float32), free=mx.array(free), y=y).outputs
    assert np.array_equal(out["out"], np.concatenate([free, y]))


def test_a_run_reports_the_node_and_the_shapes(tmp_path):
    path = write(tmp_path, BUNDLE, ("NODE", "{run: pool, with: {x: $free, by: 2}}"))
    zeros = {name: np.zeros((rows, 80), np.float32) for name, rows in (("x", 1500), ("y", 30))}
    with composer.load(path) as bundle, pytest.raises(ComposerError) as caught:
        bundle.run(free=np.zeros((3, 80), np.float32), **zeros)
    assert str(caught.value).split(": ", 1)[1] == (
        "R506 pool cannot group 3 rows by 2: 1 left over; say under 'remainder' what becomes "
        "of them\n    at node 'out' (pool), given x f32 [3, 80]"
    )


SPACES = """\
composer: 1
name: spaces
components:
  widen: {use: fake.widen, emits: echo.embed}
  echo: {use: fake.echo}
inputs: {x: {type: tensor, port: f32 N 2}, at: {type: tensor, port: bool N}, ids: ids}
graph:
  soft: {run: widen, with: {x: $x}}
  made: NODE
  answer: {run: echo.generate, with: {embeds: $made}}
outputs: {text: $answer.text}
"""


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    ("node", "keeps"),
    [
        ("{run: pool, with: {x: $soft, by: 2}}", True),
        ("{run: pool, with: {x: $soft, by: 2, mode: max}}", False),
        ("{run: slice, with: {x: $soft, start: 1}}", True),
        ("{run: keep, with: {x: $soft, at: $at}}", True),
        ("{run: concat, with: {values: [$soft, $soft]}}", True),
        ("{run: stack_frames, with: {x: $soft, by: 1}}", False),
        ("{run: transpose, with: {x: $soft}}", False),
    ],
)
def test_which_carry_the_space(tmp_path, node, keeps):
    problems = composer.check(write(tmp_path, SPACES, ("NODE", node))).problems
    codes = [problem.code for problem in problems if problem.severity == "error"]
    assert codes == [] if keeps else "W210" in codes


@pytest.mark.usefixtures("fakes")
def test_rows_of_two_spaces_are_not_joined(tmp_path):
    text = SPACES.replace("  made:", "  words: {run: echo.embed, with: {ids: $ids}}\n  made:")
    text = text.replace(", emits: echo.embed", "")
    path = write(tmp_path, text, ("NODE", "{run: concat, with: {values: [$words, $soft]}}"))
    errors = [p for p in composer.check(path).problems if p.severity == "error"]
    assert (
        str(errors[0])
        .split(": ", 1)[1]
        .startswith("W210 $soft is in no declared space but $words is in 'echo.embed'")
    )
