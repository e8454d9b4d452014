"""`composer pull`, `composer cache`, and what other commands say of bundles on the Hub."""

import json

import pytest

from composer.cli import main
from composer.core.prepared_files import PreparedFiles
from composer.sources.hub import cache_listing, settings
from mirror import Fault
from tests.hostile.making import STACK
from tests.sources.test_probe import BUNDLE, WithWeights, with_weights
from tests.sources.test_ranges import safetensors

__all__ = ["WithWeights", "with_weights"]

WEIGHTS = safetensors({"a": [1000]})
FILES = {"bundle.yaml": BUNDLE.encode(), "model.safetensors": WEIGHTS, "README.md": b"# Weighed\n"}


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_check_says_what_would_be_fetched(hub, cli):
    mirror = hub({"ann/tiny": FILES})
    commit = mirror.repositories["ann/tiny"].commit()
    assert cli("check", "ann/tiny") == (
        0,
        "weighed: ok, 1 node, 1 task\n"
        f"hf:ann/tiny@{commit[:7]}, {commit}\n"
        "files: 1 file, 4.1 kB, of which 0 B are here\n"
        "memory: 4 kB of weights\n"
        "licence: not stated\n"
        "next: composer run ann/tiny -i line=TEXT\n",
        "",
    )


def test_check_in_json(hub, cli):
    hub({"ann/tiny": FILES})
    messages = json.loads(cli("check", "ann/tiny", "--json")[1])
    assert (messages["bundle"], messages["ok"], messages["memory"]) == ("weighed", True, 4000)
    (file,) = messages["files"]
    assert (file["path"], file["size"], file["verified"]) == (
        "model.safetensors", len(WEIGHTS), False,
    )  # fmt: skip


def test_plan_needs_no_files(hub, cli):
    mirror = hub({"ann/tiny": FILES})
    code, out, err = cli("plan", "ann/tiny")
    assert (code, err) == (0, "")
    assert "weights: 4 kB in memory" in out
    assert sum(request.sent for request in mirror.requests_of("model.safetensors")) <= len(WEIGHTS)


def test_pull(hub, hub_home, cli):
    hub({"ann/tiny": FILES})
    code, out, err = cli("pull", "ann/tiny", "--dry-run")
    assert (code, err) == (0, "")
    assert out == ("4.1 kB  ann/tiny/model.safetensors\nweighed: 1 file, 4.1 kB to fetch\n")
    assert cli("pull", "ann/tiny") == (0, "weighed: 1 file, 4.1 kB here and verified\n", "")
    out = cli("pull", "ann/tiny", "--dry-run")[1]
    assert out == ("4.1 kB  ann/tiny/model.safetensors  (here)\nweighed: 0 files, 0 B to fetch\n")
    (file,) = json.loads(cli("pull", "ann/tiny", "--json")[1])["files"]
    assert (file["path"], file["components"], file["verified"]) == (
        "model.safetensors", ["weights"], True,
    )  # fmt: skip
    assert len(file["sha256"]) == 64


def test_a_link_to_nothing_is_fetched_again(hub, hub_home, cli, new_process):
    """So it looks where a file that was wrong was removed, and the network then failed."""
    stack = STACK.replace("WEIGHTS", "model.safetensors").encode()
    weights = safetensors({"0.weight": [3, 4]})
    hub({"ann/tiny": {"bundle.yaml": stack, "model.safetensors": weights}})
    assert cli("pull", "ann/tiny")[0] == 0
    (link,) = hub_home.glob("hub/*/snapshots/*/model.safetensors")
    link.resolve().unlink()
    new_process()
    assert cli("pull", "ann/tiny")[0] == 0
    assert link.read_bytes() == weights


def test_new_takes_no_bundle_of_the_hub(hub, cli):
    hub({"ann/tiny": FILES})
    code, _, err = cli("new", "mine", "--like", "ann/tiny")
    assert code == 2
    assert "ann/tiny is on the Hub: fetch a copy, and name its folder" in err


def test_one_bar_on_a_terminal(hub, cli, monkeypatch):
    hub({"ann/tiny": FILES})
    shown = []
    from rich.progress import Progress

    from composer.sources.hub import progress

    monkeypatch.setattr(Progress, "advance", lambda self, task, count: shown.append(count))
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    assert cli("pull", "ann/tiny")[0] == 0
    assert sum(shown) == len(WEIGHTS)


def test_run_by_id(hub, cli):
    hub({"ann/tiny": FILES})
    assert cli("run", "ann/tiny", "-i", "line=yes", "--trust") == (0, "YES\n", "")


def test_the_cache(hub, hub_home, cli):
    hub({"ann/tiny": FILES, "bob/other": {"bundle.yaml": BUNDLE.encode()}})
    cli("pull", "ann/tiny")
    cli("check", "bob/other")
    code, out, err = cli("cache")
    assert (code, err) == (0, "")
    first, second, last = out.splitlines()
    assert first == "4.36 kB  ann/tiny  (1 commit, 4.32 kB verified)"
    assert second.endswith("bob/other  (1 commit, 217 B verified)")
    assert last == f"{hub_home / 'hub'}: 2 repositories, 4.62 kB"
    (changed,) = hub_home.glob("hub/*bob--other/blobs/*")
    changed.write_bytes(b"x" * 217)
    assert cli("cache")[1].splitlines()[1].endswith("bob/other  (1 commit, 0 B verified)")
    rows = json.loads(cli("cache", "--json")[1])["repositories"]
    assert [row["repository"] for row in rows] == ["ann/tiny", "bob/other"]
    assert cli("cache", "--remove", "hf:ann/tiny") == (0, "ann/tiny: removed, 4.36 kB\n", "")
    assert [each.repo for each in cache_listing.cached_repositories()] == ["bob/other"]
    assert not list(hub_home.rglob("*ann--tiny/blobs/*"))
    code, _, err = cli("cache", "--remove", "bob/othre")
    assert code == 3
    assert err == "S458 hf:bob/othre is not in the cache\n    hint: did you mean 'bob/other'?\n"


def test_prepared_weights_in_the_cache(hub_home, cli):
    store = PreparedFiles(settings.prepared_folder(), "source", 10**6)
    store.folder.mkdir(parents=True)
    with store.make("a") as made:
        (made / "weights.bin").write_bytes(bytes(2000))
    listed = f"{store.folder}: 1 decoder prepared from locked bundles, 2 kB"
    assert cli("cache")[1].splitlines()[-1] == listed
    found = {"folder": str(store.folder), "decoders": 1, "bytes": 2000}
    assert json.loads(cli("cache", "--json")[1])["prepared"] == found
    assert cli("cache", "--remove", "prepared") == (0, "prepared weights: removed, 2 kB\n", "")
    assert not store.folder.exists()
    assert len(cli("cache")[1].splitlines()) == 1


@pytest.mark.parametrize("command", ["check", "plan", "show", "pull"])
def test_trouble_of_the_network_has_exit_code_4(hub, cli, command):
    mirror = hub({"ann/tiny": FILES})
    mirror.faults["/info"] = Fault(status=500)
    code, out, err = cli(command, "ann/tiny")
    assert (code, out) == (4, "")
    assert err.startswith("S495 ")


def test_a_source_that_cannot_be_reached_has_exit_code_4(hub, cli, tmp_path):
    mirror = hub({"ann/tiny": FILES})
    text = BUNDLE.replace("own: ./", "own: hf:ann/tiny")
    (tmp_path / "bundle.yaml").write_text(text)
    mirror.faults["/info"] = Fault(status=500)
    code, out, err = cli("check", "bundle.yaml")
    assert (code, out) == (4, "weighed: refused, 1 error\n")
    assert err.startswith("bundle.yaml:3:16: S495 ")


def test_a_refusal_has_exit_code_3(hub, cli):
    mirror = hub({"ann/tiny": FILES})
    mirror.faults["/tree"] = Fault(body=b'[{"path": "../x"}]')
    code, out, _ = cli("check", "ann/tiny", "--json")
    assert code == 3
    assert json.loads(out)["problems"][0]["code"] == "S415"
