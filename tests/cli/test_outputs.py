"""Every file that a verb writes by name: nothing is replaced unless it is asked for."""

import re

import pytest

from tests.test_docs import ROOT

pytestmark = pytest.mark.usefixtures("fakes")


@pytest.fixture
def calls(bundle, clip, cli, tmp_path):
    """Return by verb the call that writes `path`."""
    given = ["-i", f"audio={clip()}"]
    dump = tmp_path / "reference.safetensors"
    assert cli("tap", bundle, *given, "-o", dump)[0] == 0
    return lambda path: {
        "show": ["show", bundle, "-o", path],
        "tap": ["tap", bundle, *given, "-o", path],
        "run": ["run", bundle, *given, "--taps", path],
        "diff": ["diff", dump, bundle, "--junit", path],
        "lock": ["lock", bundle, "-o", path],
    }


@pytest.mark.parametrize("verb", ["show", "tap", "run", "diff", "lock"])
def test_a_file_is_replaced_by_force_alone(cli, calls, tmp_path, monkeypatch, verb):
    mine = tmp_path / "mine.safetensors"
    mine.write_text("mine")
    call = calls(mine)[verb]
    with monkeypatch.context() as unloaded:
        unloaded.setattr("composer.runtime.bundle.Bundle.load", None)  # it is refused before that
        code, out, err = cli(*call)
    assert (code, out, mine.read_text()) == (5, "", "mine")
    assert err.splitlines() == [
        f"{mine}: R507 there is a file already",
        "    hint: choose another name, or replace it by --force (force=True in Python)",
    ]
    assert cli(*call, "--force")[0] == 0
    assert mine.read_bytes() != b"mine"


@pytest.mark.parametrize("verb", ["show", "tap", "run", "diff", "lock"])
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_what_cannot_be_written_is_refused_before_the_work(
    cli, calls, tmp_path, monkeypatch, verb, force
):
    link, mine = tmp_path / "link.safetensors", tmp_path / "mine.safetensors"
    mine.write_text("mine")
    link.symlink_to(mine)
    nowhere, folder = tmp_path / "no" / "x.safetensors", tmp_path / "folder.safetensors"
    folder.mkdir()
    calls = {path: calls(path)[verb] for path in (link, nowhere, folder)}
    monkeypatch.setattr("composer.runtime.bundle.Bundle.load", None)
    reasons = {
        link: "it is a link, and would be written through: remove it",
        nowhere: "No such file or directory",
        folder: "Is a directory",
    }
    for path, call in calls.items():
        code, out, err = cli(*call, *force)
        assert (code, out) == (5, "")
        assert err == f"{path}: R507 cannot write: {reasons[path]}\n"
    assert mine.read_text() == "mine"


def test_a_file_that_comes_during_the_work_stays(cli, calls, tmp_path, monkeypatch):
    mine = tmp_path / "mine.safetensors"
    call = calls(mine)["tap"]

    def pack(self):
        mine.write_text("mine")
        return b""

    monkeypatch.setattr("composer.comparison.dump.Dump.pack", pack)
    code, _, err = cli(*call)
    assert (code, mine.read_text()) == (5, "mine")
    assert "R507 there is a file already" in err


def test_a_lock_of_this_machine_is_written_again(cli, bundle, tmp_path):
    for path in (tmp_path / "own.lock", bundle.with_suffix(".lock")):
        call = ["lock", bundle, *(["-o", path] if path.name == "own.lock" else [])]
        assert cli(*call)[0] == 0
        first = path.read_bytes()
        assert cli(*call)[0] == 0
        assert path.read_bytes() == first
        path.write_bytes(first.replace(b"{", b"{ ", 1))  # as if it came with the bundle
        code, _, err = cli(*call)
        assert (code, f"{path}: R507 there is a file already" in err) == (5, True)
        assert cli(*call, "--force")[0] == 0
        assert path.read_bytes() == first


@pytest.mark.parametrize("name", ["results.jsonl", "times.jsonl", "report.json", "index.html"])
def test_an_evaluation_writes_through_no_link(cli, bundle, clip, tmp_path, name):
    clip("a.wav")
    data, out, mine = tmp_path / "data.jsonl", tmp_path / "out", tmp_path / "mine"
    data.write_text('{"audio": "a.wav", "text": "7."}\n')
    out.mkdir()
    (out / name).symlink_to(mine)
    code, _, err = cli("eval", bundle, data, "-o", out)
    assert code == 5
    assert f"{out / name}: R507 cannot write: it is a link" in err
    assert not mine.exists()


WRITES = re.compile(
    r"\.write_text\(|\.write_bytes\(|shutil\.(copy|move)|\.symlink_to\(|mkfifo"
    r"|open\((.*, )?(mode=)?\"([wax]b?|r?b?[+]b?)\"|O_CREAT"
)
OWN = {
    "composer/core/safe_write.py",  # the one place
    "composer/core/child_process.py",  # the pipe of a child process
    "composer/benchmarking/benchmark_child.py",
    "composer/sources/hub/partial_download.py",  # the cache of the Hub
    "composer/sources/hub/cache.py",
    "composer/jobs/create.py",  # into an empty folder
    "composer/formats/safetensors_writer.py",  # into a folder that is moved into place
    "composer/quantization/bundle.py",
    "composer/quantization/checkpoint.py",
    "components/onnx/weights.py",  # into a temporary folder
}


def test_files_are_written_in_one_place():
    """A verb that wrote files by itself would follow links and replace what is there."""
    found = set()
    for folder in ("composer", "components"):
        for path in (ROOT / folder).rglob("*.py"):
            if WRITES.search(path.read_text("utf-8")):
                found.add(str(path.relative_to(ROOT)))
    assert found == OWN
