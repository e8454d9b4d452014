"""The command: its account on stdout, problems on stderr, and its exit codes."""

import json

from tests.jobs.corpora import CLIPS, rows_of


def test_the_account_is_the_result_and_problems_are_notes(cli, tmp_path):
    manifest, out = tmp_path / "clips.jsonl", tmp_path / "out"
    forging = "none.wav\na: ok\x1b[31m"
    rows = [{"audio": str(CLIPS[4]), "id": "a"}, {"audio": forging}]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, text, notes = cli("batch", "mega-asr-mini", manifest, "-o", out)
    assert code == 5
    why = "S480 the audio file cannot be opened: No such file or directory"
    assert notes == f"none.wav\\na: ok\\x1b[31m: {why}\n"
    assert [row["id"] for row in rows_of(out)] == ["a", forging]
    first, second, third, fourth = text.splitlines()
    assert first == f"clips     2 in, 2 rows out, in 1 shard of {out}"
    assert second == "failed    1: S480 1"
    assert third.startswith("audio     1.5 s, in ")
    assert third.endswith(" s of wall time over 1 run")
    assert fourth.startswith("speed     ")
    code, text, notes = cli("batch", "mega-asr-mini", manifest, "-o", out, "--json")
    found = json.loads(text)
    assert (code, notes) == (5, f"2 of 2 clips are in {out} already\n")
    assert (found["clips"], found["rows"], found["failed"]) == (2, 2, 1)
    assert (found["errors"], found["runs"], found["restarts"]) == ({"S480": 1}, 1, 0)


def test_a_wrong_call_is_refused_before_anything(cli, tmp_path):
    out = tmp_path / "out"
    code, text, notes = cli("batch", "mega-asr-mini", tmp_path / "none.jsonl", "-o", out)
    assert (code, text) == (5, "")
    assert notes.startswith(f"{tmp_path}/none.jsonl: R580 the data cannot be read: ")
    assert cli("batch", "mega-asr-mini", CLIPS[0])[0] == 2  # without -o
    assert cli("batch", "mega-asr-mini", CLIPS[0], "-o", out, "-f", "csv")[0] == 2
    assert cli("batch", "mega-asr-mini", CLIPS[0], "-o", out, "--workers", "0")[0] == 2
    assert not out.exists()
