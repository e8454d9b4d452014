"""A repository to download from, and what came of it."""

import os
import subprocess
import sys

WEIGHTS = (b"0" + os.urandom((1 << 16) - 1)) * 40  # so that "x" before the rest is wrong
FILES = {
    "bundle.yaml": b"composer: 1\n",
    "mlx/config.json": b'{"model_type": "qwen3"}',
    "mlx/model.safetensors": WEIGHTS,
    "mlx/modeling.py": b"import os",
}
BIG = "mlx/model.safetensors"


def blobs(home):
    return sorted(path.name for path in home.glob("hub/models--*/blobs/*"))


def sent(mirror, part):
    return sum(request.sent for request in mirror.requests if part in request.path)


FETCH = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from composer.sources.hub import Hub, RequiredFile, download_files, parse_id
found = Hub().snapshot(parse_id("ann/tiny"))
print("begun", flush=True)
done = download_files([RequiredFile(found, found.files[sys.argv[1]], ())])
print(done.files)
"""


def _process(path):
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
