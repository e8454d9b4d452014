"""What a shell completes."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["transc"], ["transcribe"]),
        (["check", "mega"], ["mega-asr", "mega-asr-1-7b", "mega-asr-mini", "mega-asr-onnx"]),
        (
            ["plan", "mega-asr-mini", "--precision", "decoder=mixed-8"],
            ["decoder=mixed-8-4", "decoder=mixed-8-6"],
        ),
        (["use", "aligner"], ["aligner-mini"]),
        (["transcribe", "-f", "ver"], ["verbose_json"]),
        (["explain", "R57"], [f"R57{n}" for n in range(10)]),
        (["show", "mega-asr-mini", "--format", "m"], ["mermaid"]),
        (["transcribe", "mega-asr-mini", ""], []),
    ],
)
def test_a_shell_completes(typed, expected):
    environment = {
        **os.environ, "_COMPOSER_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["composer", *typed]), "COMP_CWORD": str(len(typed)),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "from composer.cli.start import main; main()"],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (expected, "")
