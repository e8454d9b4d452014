"""What another package adds by its entry points, seen everywhere without a change to the core."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import composer
from composer.core import registry
from composer.evaluation.normalizer import normalizer
from composer.graph_drawing.svg import svg
from composer.jobs.output_format import OutputFormat
from tests.acme import BUNDLE, ENTRIES, MODULE, acme, install, path
from tests.cli.conftest import cli
from tests.fakes import write

__all__ = ["acme", "cli", "path"]

ROOT = Path(__file__).parent.parent


def test_without_the_package_there_is_nothing_of_it(tmp_path):
    assert "acme" not in registry.backend_names()
    assert "turn" not in registry.operator_names()
    with pytest.raises(composer.ComposerError) as error_text:
        composer.load(write(tmp_path, BUNDLE))
    message = str(error_text.value)
    assert "there is no component kind 'acme.double'" in message
    assert "W202 'turn' is neither an operator nor a component" in message


def test_doctor_probes_it(acme, cli):
    assert "  Acme board: computes on board a1\n" in cli("doctor")[1]


def test_a_backend_that_does_not_import_is_one_line_of_doctor(tmp_path, monkeypatch, cli):
    install(tmp_path, ENTRIES, "raise ImportError('no driver')")
    monkeypatch.syspath_prepend(tmp_path)
    registry.rediscover()
    try:
        code, out, _ = cli("doctor")
    finally:
        monkeypatch.undo()
        registry.rediscover()
    assert code == 5
    assert "! acme: ImportError: no driver\n" in out
    assert "  ONNX Runtime: " in out


def test_it_runs_and_operators_run_where_their_value_is(path):
    with composer.load(path) as bundle:
        backends = {step.node.name: step.backend for step in bundle.plan().steps}
        result = bundle.run(x=np.float32([1, 2, 3]))
    assert backends == {"before": "numpy", "twice": "acme", "after": "acme", "ends": "numpy"}
    assert result.outputs["y"].tolist() == [4, 6, 2]
    assert (result.outputs["low"], result.outputs["high"]) == (2, 6)


def test_plan_shows_it_and_what_crosses(path, cli):
    code, out, err = cli("plan", path, "--place", "board=a1")
    assert (code, err) == (0, "")
    assert "  double  acme.double  -    acme, board a1\n" in out
    assert "cast  $before -> twice.x: f32 in numpy -> f32 in acme, " in out
    assert "cast  $after -> ends.x: f32 in acme -> f32 in numpy, " in out
    assert "after" in out
    assert out.endswith("crossings: 2\n")


def test_its_placement_is_read_and_refused_by_what_it_declares(path, cli, tmp_path):
    profile = tmp_path / "profile.yaml"
    profile.write_text("components: {double: {board: a2}}\n")
    code, _, err = cli("run", path, "--profile", profile, "-i", "x=[1.0]")
    assert code == 5
    assert "double (acme.double) did not load: RuntimeError: there is no second board" in err
    profile.write_text("board: a3\n")
    code, _, err = cli("plan", path, "--profile", profile)
    assert (code, err) == (
        3,
        f"{profile}:1:8: M124 board cannot be 'a3'\n    hint: choose from: a1, a2\n",
    )
    profile.write_text("components: {double: {threads: 1}}\n")
    code, _, err = cli("plan", path, "--profile", profile)
    assert "R546 cannot place 'double' by 'threads': acme.double does not read it\n" in err
    assert "hint: it reads: board\n" in err
    code, _, err = cli("plan", path, "--place", "board=a3")
    assert code == 2
    assert "board should be 'a1' or 'a2', not 'a3'" in " ".join(err.split())
    code, _, err = cli("plan", path, "--place", "bored=a3")
    assert "there is no placement key 'bored'" in " ".join(err.split())


def test_choices_of_several_backends_are_joined(acme):
    key = registry.placement_keys()["device"]
    assert set(key.type.__args__) == {"cpu", "gpu", "npu"}


def test_pictures_have_its_colours(path):
    drawn = svg(composer.check(path).raise_if_refused())
    assert ".on-acme {fill: #010203; stroke: #040506}" in drawn
    assert ".on-acme {fill: #070809; stroke: #0a0b0c}" in drawn
    assert drawn.count('class="box on-acme" x=') == 2
    assert ".on-mlx" not in drawn


def test_identity_names_its_packages(acme):
    from composer.runtime.provenance import versions

    assert "PyYAML" in versions()


def test_families_run_on_it_and_it_suits_best(acme):
    from composer.checker.backend_choice import candidates

    assert "acme.meralion" in registry.component_names()
    first = candidates("meralion", "speech", {})[0]
    assert (first.kind, first.reason) == ("acme.meralion", "there is a board")


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Install a package that cannot be imported."""
    folder = tmp_path / "site"
    folder.mkdir()
    install(folder, ENTRIES, "raise ImportError('no driver')")
    monkeypatch.syspath_prepend(folder)
    registry.rediscover()
    yield
    monkeypatch.undo()
    registry.rediscover()


def test_a_broken_backend_breaks_no_bundle_that_can_do_without(broken):
    report = composer.check("elderwise-mini")
    assert report.ok
    assert {each.backend for each in report.bundle.components.values()} & {"mlx", "onnx"}
    assert "board" not in registry.placement_keys()


def test_what_does_not_import_is_refused_where_it_is_named(broken, tmp_path):
    problems = composer.check(write(tmp_path, BUNDLE)).problems
    why = "is installed but cannot be imported: ImportError: no driver"
    assert [str(problem).splitlines()[0] for problem in problems] == [
        f"{tmp_path}/bundle.yaml:3:28: W221 'acme.double' {why}",
        f"{tmp_path}/bundle.yaml:6:17: W221 'turn' {why}",
        f"{tmp_path}/bundle.yaml:8:16: W221 'turn' {why}",
        f"{tmp_path}/bundle.yaml:9:15: W221 'bounds' {why}",
    ]


def test_a_name_of_two_packages_is_refused(acme, tmp_path, monkeypatch):
    other = tmp_path / "other"
    (other / "rival-1.dist-info").mkdir(parents=True)
    (other / "rival-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: rival\nVersion: 1\n"
    )
    entry = "[composer.operators]\nturn = rival:turn\n"
    (other / "rival-1.dist-info" / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(other)
    registry.rediscover()
    (problem, *_) = composer.check(write(tmp_path, BUNDLE)).problems
    assert problem.message == (
        "'turn' is installed but cannot be imported: ValueError: several packages provide it: "
        "acme_local:turn, rival:turn"
    )


def test_a_network_of_a_family_runs_on_it_unchanged(acme):
    clip = ROOT / "bundles" / "elderwise-mini" / "clips" / "digits-01.flac"
    stages = {}
    for backend in ("acme", "numpy"):
        chosen = {"speech": backend, "projector": backend}
        with composer.load("elderwise-mini", task="transcribe", backends=chosen) as bundle:
            where = {step.node.run: step.backend for step in bundle.plan("transcribe").steps}
            assert (where["speech"], where["projector"]) == (backend, backend)
            stages[backend] = bundle.run(audio=clip, task="transcribe", taps=["soft"])
    np.testing.assert_array_equal(stages["acme"].taps["soft"], stages["numpy"].taps["soft"])
    assert stages["acme"].text == stages["numpy"].text != ""


def test_an_entry_point_of_another_name_is_refused(tmp_path, monkeypatch):
    install(tmp_path, "[composer.operators]\nspin = acme_local:turn\n", MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    registry.rediscover()
    try:
        with pytest.raises(ValueError, match="its entry point is named spin, and it itself turn"):
            registry.operator("spin")
    finally:
        sys.modules.pop("acme_local", None)
        monkeypatch.undo()
        registry.rediscover()


@pytest.fixture
def fake_asr(acme, fakes, tmp_path):
    folder = tmp_path / "fake"
    folder.mkdir()
    return write(folder)


@pytest.fixture
def clips(tmp_path):
    def make(*names):
        paths = [tmp_path / name for name in names]
        for clip in paths:
            soundfile.write(clip, np.zeros(14, np.float32), 8000)
        return paths

    return make


def test_a_document_format_writes_all_clips_at_the_end(fake_asr, clips, cli):
    code, out, _ = cli("transcribe", fake_asr, *clips("a.wav", "b.wav"), "-f", "lrc")
    assert (code, out) == (0, "1\n10.\n\n2\n10.\n\n")


def test_a_file_format_writes_a_file_for_each_clip(fake_asr, clips, cli, tmp_path):
    folder = tmp_path / "out"
    assert cli("transcribe", fake_asr, *clips("a.wav"), "-f", "lrc", "-o", folder)[0] == 0
    found = {path.name: path.read_text() for path in folder.glob("[!.]*")}
    assert found == {"a.lrc": "1\n10.\n"}


def test_a_line_format_writes_lines_to_one_file(fake_asr, clips, cli, tmp_path):
    folder = tmp_path / "out"
    call = ("transcribe", fake_asr, *clips("a.wav", "b.wav"), "-f", "sbv")
    assert cli(*call)[1] == "NOTE 10.\nNOTE 10.\n"
    assert cli(*call, "-o", folder)[0] == 0
    found = {path.name: path.read_text() for path in folder.glob("[!.]*")}
    assert found == {"transcripts.sbv": "NOTE 10.\nNOTE 10.\n"}


def test_a_format_that_writes_nothing_is_refused():
    with pytest.raises(ValueError, match="dull needs a line, or a document and a file"):
        OutputFormat("dull", "nothing", document=str)


def test_a_normaliser_scores_and_is_named_in_the_report(fake_asr, clips, cli, tmp_path):
    (path,) = clips("a.wav")
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"audio": str(path), "text": "10."}) + "\n")
    code, out, err = cli("eval", fake_asr, data, "-n", "loud", "--json")
    assert code == 0, err
    found = json.loads(out)["normalizer"]
    assert (found["name"], found["version"]) == ("loud", "2")
    assert normalizer("loud")("a b") == "A B"


def test_operators_explain_themselves(acme, cli):
    assert cli("explain", "turn") == (
        0,
        "# turn\n\nMove numbers along.\n\n- takes x: f32 N\n- option by: int\n- gives out: f32 N\n",
        "",
    )
    assert "- takes values: N D @S\n" in cli("explain", "scatter")[1]
    assert "did you mean 'scatter'?" in cli("explain", "scater")[2]


def test_doctor_lists_all_that_packages_add(acme, cli):
    out = cli("doctor")[1]
    for line in (
        "operator turn: Move numbers along.",
        "normaliser loud: upper case",
        "output format lrc: subtitles",
    ):
        assert f"  {line}\n" in out
