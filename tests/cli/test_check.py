import json

import pytest

import composer
from tests.fakes import BUNDLE, write

pytestmark = pytest.mark.usefixtures("fakes")


def facts(called):
    command = f"composer transcribe {called} clip.wav"
    return f"memory: 2.05 kB of weights\nlicence: not stated\nnext: {command}\n"


def test_a_good_bundle(cli, tmp_path):
    path = write(tmp_path)
    assert cli("check", path) == (0, f"fake-asr: ok, 6 nodes, 1 task\n{facts(path)}", "")


def test_a_folder_will_do(cli, tmp_path):
    write(tmp_path)
    assert cli("check", tmp_path)[0] == 0


def test_every_problem_is_printed(cli, tmp_path):
    path = write(
        tmp_path, BUNDLE, ("$soft, line", "$sfot, line"), ("ids: $asked.ids", "idz: $asked.ids")
    )
    code, out, err = cli("check", path)
    assert code == 3
    assert out == "fake-asr: refused, 3 errors\n"
    problems = composer.check(path).problems
    assert [problem.code for problem in problems] == ["W206", "W204", "W203"]
    assert err == "".join(f"{problem}\n" for problem in problems)


def test_warnings_do_not_refuse(cli, tmp_path):
    path = write(tmp_path, BUNDLE, ("graph:\n", "  more: text\ngraph:\n"))
    code, out, err = cli("check", path)
    assert (code, out) == (0, f"fake-asr: ok, 6 nodes, 1 task, 1 warning\n{facts(path)}")
    assert err.startswith(f"{path}:12:3: L303 warning: the input $more is never used\n")


def test_json(cli, tmp_path):
    path = write(tmp_path, BUNDLE, ("run: frames", "run: frame"))
    code, out, err = cli("check", path, "--json")
    assert (code, err) == (3, "")
    (problem,) = composer.check(path).problems
    assert json.loads(out) == {
        "bundle": "fake-asr",
        "ok": False,
        "problems": [
            {
                "code": "W202",
                "severity": "error",
                "message": problem.message,
                "file": str(path),
                "line": 13,
                "column": 14,
                "causes": [],
                "hint": problem.hint,
            }
        ],
    }


def test_json_where_there_is_no_bundle(cli):
    code, out, err = cli("check", "no-such", "--json")
    found = json.loads(out)
    assert (code, err) == (3, "")
    assert (found["bundle"], found["ok"]) == ("no-such", False)
    assert [problem["code"] for problem in found["problems"]] == ["S474"]


def test_a_manifest_that_cannot_be_read(cli, tmp_path):
    path = tmp_path / "bundle.yaml"
    path.write_text("composer: [\n")
    code, out, err = cli("check", path)
    assert (code, out) == (3, f"{path}: refused, 1 error\n")
    assert err.startswith(f"{path}:")


def test_a_name_that_is_no_bundle(cli):
    code, out, err = cli("check", "no-such")
    assert (code, out) == (3, "")
    assert err.startswith(
        "S474 there is no bundle 'no-such': neither a file or folder here nor a shipped bundle\n"
    )


def test_a_variant(cli, tmp_path):
    more = ("inputs:\n", "variants: {tall: {components: {widen: {config: {width: 5}}}}}\ninputs:\n")
    path = write(tmp_path, BUNDLE, more)
    code, out, err = cli("check", path)
    assert (code, out) == (3, "fake-asr: refused, 1 error\n")
    assert "W209 in the variant 'tall': axis 1 of $soft is 5 but scatter.values needs 4" in err
    assert cli("check", path, "--variant", "tall")[0] == 3
    code, _, err = cli("check", path, "--variant", "tell")
    assert code == 3
    assert "M132 there is no variant 'tell'; did you mean 'tall'?" in err


def test_a_source_that_stands_in(cli, tmp_path):
    path = write(tmp_path, BUNDLE, ("components:\n", "sources: {repo: 'hf:a/b'}\ncomponents:\n"))
    assert "S476" in cli("check", path)[2]
    assert cli("check", path, "--source", f"repo={tmp_path}") == (
        0,
        f"fake-asr: ok, 6 nodes, 1 task\n{facts(f'{path} --source=repo={tmp_path}')}",
        "",
    )
    assert "S475 a folder is given for 'repp'" in cli("check", path, "--source", "repp=.")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "repo"], "--source takes NAME=FOLDER, not 'repo'"),
        (["--source", "=x"], "--source takes NAME=FOLDER, not '=x'"),
        (["--source", "a=x", "--source", "a=y"], "--source a is given twice"),
        (["--vraiant", "x"], "No such option: --vraiant"),
    ],
)
def test_a_wrong_call(cli, tmp_path, arguments, message):
    code, out, err = cli("check", write(tmp_path), *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_control_characters_are_shown_and_not_sent(cli, tmp_path):
    path = write(tmp_path, BUNDLE, ("run: frames", 'run: "a\\e]0;owned\\a"'))
    code, _, err = cli("check", path)
    assert code == 3
    assert "\x1b" not in err
    assert "\\x1b]0;owned\\x07" in err
