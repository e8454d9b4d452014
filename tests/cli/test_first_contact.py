"""What a person tries first works, or says what to try instead."""

import io
import json
import sys

import pytest

from composer.cli.printing import print_problems
from composer.core.errors import Place, Problem
from composer.jobs.next_command import next_command
from composer.manifest import read_manifest
from composer.sources.shipped import shipped_bundles
from tests.cli.conftest import COLOUR
from tests.fakes import BUNDLE, write

pytestmark = pytest.mark.usefixtures("fakes")


def test_a_clip_is_run_by_its_name(cli, bundle, clip):
    path = clip()
    assert cli("run", bundle, path) == cli("run", bundle, "-i", f"audio={path}") == (0, "7.\n", "")


def test_a_clip_without_a_bundle_says_which_there_are(cli, clip):
    code, out, err = cli("transcribe", clip())
    assert (code, out) == (2, "")
    named = f"composer transcribe mega-asr-mini {clip()}"
    chosen = "composer use mega-asr-mini (or elderwise-mini; composer list has more) chooses one"
    message = f"{clip()} is a clip: name a bundle before it, as in: {named}; or for all times: "
    assert message + chosen in " ".join(err.split())
    code, _, err = cli("transcribe", clip(), clip("b.wav"))
    assert code == 2
    assert "name a bundle before it" in " ".join(err.split())


def test_a_bundle_without_a_clip(cli, bundle):
    code, _, err = cli("transcribe", bundle)
    assert code == 2
    assert "Missing argument 'CLIP...'" in err


WRONG = BUNDLE.replace("{x: $mel}", "{x: $mle}")
AT = "{run: widen, with: {x: $mle}}"


@pytest.mark.parametrize(
    ("columns", "shown"), [(20, "widen, with: {x"), (80, f"soft: {AT}"), (120, f"soft: {AT}")]
)
def test_a_problem_shows_its_place_on_a_terminal(cli, terminal, tmp_path, columns, shown):
    path = write(tmp_path, WRONG)
    _, _, plain = cli("check", path)
    assert "^" not in plain
    _, _, err = terminal(columns, "check", path)
    lines = COLOUR.sub("", err).splitlines()
    at = lines.index(next(each for each in lines if each.endswith("^")))
    before, line, carets = lines[at - 2 : at + 1]
    assert (before, line[:5], carets[:4]) == ("   |", "14 | ", "   |")
    assert line[carets.index("^") : len(carets)] == "$mle"[: len(carets) - carets.index("^")]
    assert columns == 20 or line.strip().endswith(shown)
    rest = lines[: at - 2] + lines[at + 1 :]
    assert " ".join(" ".join(rest).split()) == " ".join(plain.split())
    longest = max(map(len, " ".join(rest).split()))
    for each in (*rest, line, carets):
        assert len(each) <= max(columns, longest + 4)


def test_colours_are_for_terminals_that_want_them(terminal, tmp_path, monkeypatch):
    path = write(tmp_path, WRONG)
    _, _, coloured = terminal(80, "check", path)
    assert "\x1b[1;31mW206\x1b[0m" in coloured
    assert "\x1b[36m    hint: " in coloured
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert terminal(80, "check", path)[2] == COLOUR.sub("", coloured)


def test_a_caret_stands_below_wide_characters(terminal, tmp_path, capsys):
    path = tmp_path / "bundle.yaml"
    path.write_text("a: {言語: x, b: $mle}\n", "utf-8")
    terminal(40, "use")
    print_problems([Problem("W206", "it is", Place(str(path), 1, 15))])
    *_, line, carets = COLOUR.sub("", capsys.readouterr().err).splitlines()
    assert (line, carets) == ("1 | a: {言語: x, b: $mle}", "  | " + " " * 16 + "^^^^")


# The bundle of composer use


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Have a settings folder of one's own; return its file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "composer" / "settings.json"


def test_a_chosen_bundle_transcribes_clips(cli, bundle, clip, settings, tmp_path, monkeypatch):
    one, two = clip(), clip("folder/b.wav", frames=4)
    monkeypatch.chdir(bundle.parent)
    code, out, err = cli("use", bundle.name)
    assert (code, out) == (0, "")
    assert err == f"composer transcribe CLIP takes {bundle.name} now; this is kept in {settings}\n"
    assert json.loads(settings.read_text()) == {"bundle": str(bundle)}
    monkeypatch.chdir("/")
    assert cli("use") == (0, f"{bundle}\n", "")
    assert cli("transcribe", one) == cli("transcribe", bundle, one) == (0, "7.\n", "")
    assert cli("transcribe", one, two)[1] == f"{one}: 7.\n{two}: 5.\n"
    assert cli("transcribe", two.parent) == (0, "5.\n", "")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(one.read_bytes())))
    assert cli("transcribe", "-") == (0, "7.\n", "")
    code, _, err = cli("transcribe", tmp_path / "none.wav")
    assert code == 5
    assert "none.wav" in err
    assert cli("use", "--none") == (0, "", "")
    assert not settings.exists()
    assert cli("use") == (0, "", "no bundle is chosen: composer use mega-asr-mini (or "
                          "elderwise-mini; composer list has more) chooses one\n")  # fmt: skip


def test_a_terminal_shows_which_bundle_it_is(cli, terminal, bundle, clip, settings):
    cli("use", bundle)
    assert terminal(80, "transcribe", clip())[2].startswith(f"{bundle}, by composer use\n")


def test_what_cannot_transcribe_is_not_chosen(cli, settings):
    code, out, err = cli("use", "aligner-mini")
    assert (code, out) == (2, "")
    assert err == (
        "R543 aligner-mini does not transcribe: it has no task that makes text of audio alone\n"
        "    hint: composer list shows which do\n"
    )
    assert cli("use", "mega-asr-mimi")[0] == 3
    assert not settings.exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", 'it holds {"bundle": NAME} and nothing else'),
        ('{"bundle": 1}', 'it holds {"bundle": NAME} and nothing else'),
        ('{"bundle": "x", "more": 1}', 'it holds {"bundle": NAME} and nothing else'),
        ("", "the file is empty"),
        ("[" * 9999, ""),
    ],
)
def test_damaged_settings_are_refused(cli, settings, clip, text, why):
    settings.parent.mkdir(parents=True)
    settings.write_text(text)
    for arguments in (("use",), ("transcribe", clip())):
        code, out, err = cli(*arguments)
        assert (code, out) == (5, "")
        assert err.startswith(f"{settings}: R578 these settings cannot be read: {why}")
    assert cli("use", "mega-asr-mini")[0] == 0
    assert cli("use") == (0, "mega-asr-mini\n", "")


def test_settings_without_a_place(cli, tmp_path, monkeypatch):
    """A relative XDG_CONFIG_HOME is ignored, as its specification says; HOME comes next."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli("use", "mega-asr-mini")[0] == 0
    assert (tmp_path / ".config" / "composer" / "settings.json").is_file()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    code, _, err = cli("use", "mega-asr-mini")
    assert (code, err) == (5, f"{tmp_path}/file/composer: R507 cannot write: Not a directory\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError()))
    assert cli("use")[2] == (
        "R578 there is no folder for settings: this user has no home\n"
        "    hint: set HOME, or XDG_CONFIG_HOME to a folder\n"
    )


# What check says of a sound bundle


def test_check_ends_with_what_to_do_next(cli):
    assert cli("check", "mega-asr-mini") == (0, (
        "mega-asr-mini: ok, 7 nodes, 1 task\n"
        "memory: 7.96 MB of weights\n"
        "licence: Apache-2.0\n"
        "variants: mlx\n"
        "next: composer transcribe mega-asr-mini clip.wav\n"
    ), "")  # fmt: skip
    assert cli("check", "mega-asr-mini", "--variant", "mlx")[1].endswith(
        "next: composer transcribe mega-asr-mini --variant=mlx clip.wav\n"
    )


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("aligner-mini", 'composer align x clip.wav "TEXT"'),
        ("elderwise-mini", "composer transcribe x clip.wav"),
        ("gemma-4-31b", "composer chat x"),
        ("gemma-4-e2b", "composer transcribe x clip.wav"),
    ],
)
def test_the_next_command(name, command):
    assert next_command(read_manifest(shipped_bundles()[name]), "x") == command


def test_the_next_command_of_what_has_no_verb(tmp_path):
    task = (
        "inputs: {rows: {type: tensor, port: f32 T D}, by: {type: text, default: a}}, "
        "graph: {out: {run: transpose, with: {x: $rows}}}, outputs: {o: $out}"
    )
    text = "composer: 1\nname: two\ncomponents: {}\ntasks:\n  up: {" + task + "}\n"
    path = tmp_path / "bundle.yaml"
    path.write_text(text)
    assert next_command(read_manifest(path), "x") == "composer run x -i rows=values.npy"
    path.write_text(text + "  down: {" + task + "}\n")
    assert next_command(read_manifest(path), "x") == "composer run x --task up -i rows=values.npy"
