"""Serve a bundle by the installed command, upload clips to it, and end with its exit code."""

import subprocess
import sys
from pathlib import Path

import httpx2

PATIENCE = 80  # seconds for one answer: a child's limits, and some more


def main(folder: str, *clips: str) -> int:
    """Print the status of each answer; a server that fails is one of code 1."""
    composer = Path(sys.executable).with_name("composer")
    command = [composer, "serve", f"hostile={folder}", "--port", "0", "--stop-after", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        line = server.stdout.readline()
        if not line:
            return server.wait()
        try:
            for clip in clips:
                status, body = post(line.split()[-1], Path(clip))
                print(f"{Path(clip).name}: {status} {body[:200]}")
                if status >= 500 and "error" not in body:
                    return 1
        finally:
            server.terminate()
            server.communicate(timeout=PATIENCE)
        return server.returncode


def post(address: str, clip: Path) -> tuple[int, str]:
    """Transcribe a clip by the server; return the status and the body of its answer."""
    with clip.open("rb") as file:
        answer = httpx2.post(
            f"{address}/v1/audio/transcriptions",
            files={"file": (clip.name, file)},
            data={"model": "hostile"},
            timeout=PATIENCE,
        )
    return answer.status_code, answer.text


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
