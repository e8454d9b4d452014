"""An interrupt ends every load and every run: it waits for no native code."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from composer.components.onnx import file_precision
from composer.components.onnx.interruptible import GraphTimeout, run_interruptibly
from composer.components.onnx.lm import session
from composer.core import registry
from composer.core.child_process import Child
from composer.core.location import Location
from composer.core.placement import Placement
from composer.corpus.worker_process import WorkerProcess
from composer.generation.decoder import DecoderInput
from composer.runtime.worker import BackendWorker
from tests.components.mlx_lm.models import save, torch_model
from tests.components.onnx_lm.loading import load

AFTER = 0.2  # seconds


@pytest.fixture
def native(monkeypatch):
    """Return a call that takes until the end of the test, and is interrupted soon."""
    over = threading.Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def call():
        threading.Timer(AFTER, os.kill, (os.getpid(), signal.SIGINT)).start()
        assert over.wait(60)
        return "done"

    yield call
    over.set()
    signal.signal(signal.SIGINT, before)


def test_native_code_is_terminated_and_not_waited_for(native):
    given = []

    def run(options):
        given.append(options)
        return native()

    with pytest.raises(KeyboardInterrupt):
        run_interruptibly(run)
    assert given[0].terminate
    given.clear()
    assert run_interruptibly(lambda options: options.terminate) is False
    with pytest.raises(GraphTimeout):
        run_interruptibly(until_terminated, 0.01)


def until_terminated(options):
    while not options.terminate:
        time.sleep(0.01)
    raise RuntimeError("terminated")


def steps(native):
    yield native()


def call_and_close(worker, way, given):
    try:
        next(getattr(worker, way)(given))
    finally:
        worker.close()


@pytest.mark.parametrize("way", ["call", "drain", "iterate"])
def test_the_thread_of_a_backend_is_not_waited_for(native, way):
    worker = BackendWorker(registry.backend("mlx"))
    given = native if way == "call" else steps(native)
    with pytest.raises(KeyboardInterrupt):
        call_and_close(worker, way, given)
    with pytest.raises(RuntimeError, match="shutdown"):
        worker._pool.submit(native)


def test_a_thread_that_nobody_interrupts_is_waited_for():
    worker = BackendWorker(registry.backend("mlx"))
    ended = []
    stream = worker.iterate(iter_until(ended))
    assert next(stream) == 1
    stream.close()
    assert ended == ["closed"]
    worker._pool.submit(lambda: (time.sleep(AFTER), ended.append("step")))
    worker.close()
    assert ended == ["closed", "step"]


def iter_until(ended):
    try:
        yield 1
    finally:
        time.sleep(AFTER)
        ended.append("closed")


def test_parts_of_a_prompt_run_beside_and_single_steps_do_not(tmp_path, monkeypatch):
    """On a thread of their own the same numbers come out."""
    lm = load(save(torch_model("qwen3"), tmp_path / "lm"), Placement(threads=1))
    native, threads = session.DecoderSession._run_bound, []

    def run(self, binding, memory, options):
        threads.append(threading.current_thread() is threading.main_thread())
        native(self, binding, memory, options)

    monkeypatch.setattr(session.DecoderSession, "_run_bound", run)
    prompt = DecoderInput({"embeds": lm.embed(np.arange(3, 43))})
    logits = {}
    for long in (session.LONG, lm.decoder.sessions[0].nbytes * 2):
        monkeypatch.setattr(session, "LONG", long)
        state = lm.decoder.prefill(prompt)
        lm.decoder.step([state], [5])
        logits[long] = lm.decoder.logits(state)
    assert threads == [True, True, False, True]
    np.testing.assert_array_equal(*logits.values())


def test_a_file_that_is_converted_at_load_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    source = tmp_path / "a.onnx"
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph(
        [node], "g", [value], [onnx.helper.make_tensor_value_info("y", 1, [1])]
    )
    onnx.save(onnx.helper.make_model(graph), source)
    location = Location("repo", "a.onnx", source)
    packing = file_precision.conversion(location, (location,), "float16")["packing"]
    path, folder = file_precision.converted(source, packing)
    assert path.exists()
    del folder
    assert not path.parent.exists()


CONVERTING = """
import atexit, os, sys, threading
from functools import partial
from pathlib import Path
from composer.components.onnx.file_precision import converted
from composer.formats.packing import FileConversion

def convert(source, target):
    target.write_bytes(b"half")
    begun.set()
    threading.Event().wait()

begun = threading.Event()
packing = FileConversion(None, (), convert)
threading.Thread(target=converted, args=(Path("a.onnx"), packing), daemon=True).start()
begun.wait()
(folder,) = os.listdir(os.environ["TMPDIR"])
assert os.listdir(Path(os.environ["TMPDIR"], folder)) == ["a.onnx"]
atexit._run_exitfuncs()  # as what is interrupted ends
os._exit(130)
"""


def test_a_file_that_is_converted_when_the_process_ends_leaves_nothing(tmp_path):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-P", "-c", CONVERTING], env=env, check=False)
    assert done.returncode == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize(
    "start",
    [
        lambda: Child("composer.components.onnx.session_child", 1 << 30),
        lambda: WorkerProcess(None, 1, 60.0),
    ],
    ids=["a child", "a worker"],
)
def test_what_a_killed_process_has_written_goes_with_it(tmp_path, monkeypatch, start):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    child = start()
    environment = Path(f"/proc/{child.process.pid}/environ").read_bytes().split(b"\0")
    (folder,) = tmp_path.iterdir()
    assert f"TMPDIR={folder}".encode() in environment
    (folder / "weights.bin").write_bytes(b"half")
    child.end()
    assert list(tmp_path.iterdir()) == []


PROGRAM = """
import os, signal, sys, threading
import numpy as np
import mlx.core as mx
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from composer.components.{module} import {kind}

def minutes(*_):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    {minutes}

{kind}.{method} = minutes
from composer.components.onnx.lm import session
session.LONG = 0
sys.argv[1:] = ["run", "mega-asr-mini", "--backend", "decoder={backend}", "{clip}"]
from composer.cli import main
sys.exit(main())
"""
CLIP = "bundles/mega-asr-mini/clips/digits-01.flac"
OF_NUMPY = "a = np.ones((30000, 30000), np.float32); a @ a @ a"
OF_MLX = """a = mx.ones((4000, 4000))
    for _ in range(200):
        a = a @ a
    mx.eval(a)"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "module", "kind", "method", "minutes"),
    [
        ("onnx", "onnx.lm.session", "DecoderSession", "_run_bound", OF_NUMPY),
        ("mlx", "mlx.decoder", "MlxLmDecoder", "_read", OF_MLX),
    ],
)
def test_a_command_ends_within_native_code_of_a_decoder(backend, module, kind, method, minutes):
    program = PROGRAM.format(
        module=module, kind=kind, method=method, minutes=minutes, backend=backend, clip=CLIP
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    assert time.monotonic() - began < 60
