import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from composer.cli import main
from composer.cli.verbs import load_verb, verb_names, verb_summary
from tests.fakes import write

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "check plan show run transcribe batch align chat serve pull cache lock verify licences publish "
    "tap diff eval bench quantize list use new explain schema doctor"
).split()
HEAVY = {
    "mlx", "mlx_lm", "onnxruntime", "librosa", "transformers", "soundfile", "soxr", "tokenizers",
    "huggingface_hub", "httpx", "httpx2", "filelock", "torch", "safetensors", "rich",
}  # fmt: skip


def modules_after(*arguments):
    """Run a command in a fresh interpreter and return the modules that it imported."""
    program = (
        "import sys\nfrom composer.cli import main\n"
        f"main({list(arguments)!r})\nprint(chr(10) + ' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_help_imports_nearly_nothing():
    assert modules_after("--help") & {*HEAVY, "numpy", "pydantic", "yaml"} == set()


def test_check_imports_no_backend(tmp_path):
    path = tmp_path / "bundle.yaml"
    path.write_text(
        "composer: 1\nname: tiny\ncomponents: {mel: {use: audio.log_mel, config: {mels: 80}}}\n"
        "inputs: {audio: audio}\ngraph: {out: {run: mel, with: {audio: $audio}}}\n"
        "outputs: {mel: $out}\n"
    )
    assert modules_after("check", str(path)) & HEAVY == set()


@pytest.mark.parametrize("command", verb_names())
def test_each_command_has_help_with_an_example(cli, command):
    code, out, err = cli(command, "-h")
    assert (code, err) == (0, "")
    assert f"Example: composer {command}" in out
    assert cli(command, "--help") == (0, out, "")


def test_the_help_lists_the_commands_whole(cli):
    code, out, _ = cli("--help")
    assert code == 0
    lines = out.partition("Commands:\n")[2]
    assert tuple(line.split()[0] for line in lines.splitlines()) == verb_names()
    assert "..." not in lines


def test_version(cli):
    assert cli("--version") == (0, f"composer {version('bundle-composer')}\n", "")


def test_a_misspelt_command(cli):
    code, out, err = cli("chek")
    assert (code, out) == (2, "")
    assert "No such command 'chek'" in err


def test_an_interrupt_is_quiet(cli, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("composer.manifest.schema.schema_text", interrupted)
    assert cli("schema") == (130, "", "")


def test_a_closed_pipe_is_quiet():
    with subprocess.Popen(
        [sys.executable, "-m", "composer", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() in (0, 141)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_stdout_is_reported():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "composer", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 5
    assert done.stderr == "standard output: R507 cannot write: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_fault(closed):
    line = f'"{sys.executable}" -m composer'
    for command, code in (("list", 0), ("check no-such", 3)):
        done = subprocess.run(
            f"{line} {command} {closed}", shell=True, capture_output=True, text=True, check=False
        )
        assert done.returncode == code
        assert "Error" not in done.stderr


def test_a_fault_of_composer_itself_is_not_hidden(monkeypatch):
    def broken():
        raise ZeroDivisionError

    monkeypatch.setattr("composer.manifest.schema.schema_text", broken)
    with pytest.raises(ZeroDivisionError):
        main(["schema"])


def test_text_that_stdout_cannot_encode_is_escaped(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "composer",
            "show",
            "-f",
            "tree",
            str(ROOT / "tests/manifests/mega-asr.yaml"),
        ],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii:strict", "PATH": ""},
        check=False,
    )
    assert b"Traceback" not in done.stderr
    assert b"\\u251c" in done.stdout


@pytest.mark.usefixtures("fakes")
def test_nothing_is_coloured_in_a_pipe(cli, tmp_path):
    for command in ("check", "plan", "show"):
        _, out, err = cli(command, write(tmp_path))
        assert "\x1b" not in out + err


def test_every_command_is_there_in_its_place():
    assert list(verb_names())[: len(COMMANDS)] == COMMANDS


@pytest.mark.parametrize("command", verb_names())
def test_a_verb_is_listed_by_the_first_line_of_its_help(command):
    assert load_verb(command).help.splitlines()[0] == verb_summary(command)


def test_only_the_verb_that_is_called_is_loaded():
    program = (
        "import sys\nfrom composer.cli import main\nmain(sys.argv[1:])\n"
        "print(*(name for name in sys.modules if name.startswith('composer.cli.commands.')))"
    )
    for arguments, loaded in ((["--help"], []), (["schema"], ["composer.cli.commands.schema"])):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1].split() == loaded


def test_a_new_file_is_a_new_verb(cli, tmp_path, monkeypatch):
    from composer.cli import commands

    (tmp_path / "greet.py").write_text(
        '"""Greet somebody."""\ndef command(name: str) -> None:\n    print("hello", name)\n'
    )
    for module in ("check", "plan"):
        (tmp_path / f"{module}.py").write_text('"""Do it."""\n')
    monkeypatch.setattr("composer.cli.verbs.FOLDER", tmp_path)
    monkeypatch.setattr(commands, "__path__", [str(tmp_path)])
    verb_names.cache_clear()
    try:
        assert verb_names() == ("check", "plan", "greet")
        assert "greet  Greet somebody." in cli("--help")[1]
        assert cli("greet", "you") == (0, "hello you\n", "")
    finally:
        verb_names.cache_clear()
        sys.modules.pop("composer.cli.commands.greet", None)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(24, "Too many open files"), "R589 the system refused it: Too many open files\n"),
        (OSError(36, "File name too long", "x"), "x: R589 the system refused it: File name too"),
        (MemoryError(), "R589 the system refused memory\n"),
        (
            RuntimeError("can't start new thread"),
            "R589 the system refused a thread\n"
            "    hint: raise the limit: ulimit -u, or --pids-limit of a container\n",
        ),
    ],
)
def test_what_the_system_refuses_is_an_error(cli, monkeypatch, error, text):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr("composer.checker.check", refuse)
    code, out, err = cli("check", "mega-asr-mini")
    assert (code, out) == (5, "")
    assert err.startswith(text)


def test_another_error_of_ours_is_not_hidden(cli, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("a fault")

    monkeypatch.setattr("composer.checker.check", refuse)
    with pytest.raises(RuntimeError, match="a fault"):
        cli("check", "mega-asr-mini")


@pytest.mark.parametrize("verb", ["show", "lock"])
def test_a_name_that_is_too_long_is_an_error(cli, tmp_path, verb):
    code, out, err = cli(verb, "mega-asr-mini", "-o", tmp_path / ("n" * 300))
    assert (code, out) == (5, "")
    assert "n: R507 cannot write: File name too long" in err


@pytest.mark.parametrize("option", ["-i", "--set", "--source", "--place", "--precision"])
def test_what_was_wrongly_written_cannot_steer_the_terminal(cli, option):
    """A shell completes a file's name, which may hold what ends a line or moves the cursor."""
    code, out, err = cli("run", "mega-asr-mini", option, "a\x1b]0;b\x07\x9b31m")
    assert (code, out) == (2, "")
    assert r"a\x1b]0;b\x07\x9b31m" in err


def test_what_is_under_way_is_no_markup(monkeypatch):
    from composer.cli import printing
    from composer.core.terminal import stderr_console

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    stderr_console.cache_clear()
    with printing.show_status("loading a[/b]c\x1b[31m"):
        pass
    stderr_console.cache_clear()
