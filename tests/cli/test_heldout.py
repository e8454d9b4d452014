"""The error rates in the miniatures' READMEs are those that `composer eval` finds."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AUDIO = "91c9788e7e128f2e"  # espeak-ng 1.51 of Debian 12 makes it, and another version may not
ROW = re.compile(r"^\| ([\w+]+) \| (\d+) \| (\d+) \| (\d+) \| (\d+\.\d\d) % \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def heldout(speaks, tmp_path_factory):
    """Make the held-out set, in a process that begins with it: the synthesizer carries state."""
    folder = tmp_path_factory.mktemp("heldout")
    subprocess.run([sys.executable, "-m", "training.dump", str(folder)], cwd=ROOT, check=True)
    made = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        made.update(path.name.encode() + path.read_bytes())
    assert made.hexdigest()[:16] == AUDIO, "other audio than the READMEs' numbers are of"
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "given"),
    [("mega-asr-mini", ["-i", "language="]), ("elderwise-mini", ["--task", "transcribe"])],
)
def test_the_readme_is_reproduced(cli, heldout, name, given):
    text = (ROOT / "bundles" / name / "README.md").read_text()
    rates = {group: (*map(int, counts), rate) for group, *counts, rate in ROW.findall(text)}
    assert rates.keys() >= {"all", "digits", "long", "clean", "room+babble"}
    by = ["--by", "category", "--by", "condition"]
    code, out, _ = cli("eval", name, heldout, *given, *by, "--json")
    assert code == 0
    report = json.loads(out)
    groups = {"all": {"utterances": report["utterances"]["scored"], **report["words"]}}
    groups |= report["groups"]["category"] | report["groups"]["condition"]
    assert rates == {
        group: (found["utterances"], found["N"], found["errors"], f"{100 * found['wer']:.2f}")
        for group, found in groups.items()
    }
