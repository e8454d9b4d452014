"""A bundle that is closed while it runs, or is used in a fork, ends in one clear error."""

import subprocess
import sys
import threading

import pytest

import composer

CLIP = "bundles/mega-asr-mini/clips/digits-01.flac"
VARIANTS = pytest.mark.parametrize("variant", [None, "mlx"], ids=["onnx", "mlx"])
FORKED = """
import os, signal, sys, warnings
import composer

warnings.simplefilter("ignore")
with composer.load("mega-asr-mini", variant=sys.argv[1] or None) as bundle:
    stream = None
    if sys.argv[2] == "streaming":
        stream = bundle.stream(audio="CLIP")
        next(stream)
    elif sys.argv[2] == "loaded":
        bundle.load()
    child = os.fork()
    if not child:
        signal.alarm(30)
        try:
            print(bundle.run(audio="CLIP").text if stream is None else list(stream))
        except composer.ComposerError as error:
            print(error)
        finally:
            sys.stdout.flush()
            bundle.close()
            os._exit(0)
    _, status = os.waitpid(child, 0)
    print("child", status)
    print("parent", (bundle.run(audio="CLIP").text if stream is None else "".join(stream)) != "")
""".replace("CLIP", CLIP)


def load(variant):
    return composer.load("mega-asr-mini", variant=variant)


@VARIANTS
def test_a_stream_whose_bundle_is_closed_ends_in_an_error(variant):
    bundle = load(variant)
    stream = bundle.stream(audio=CLIP)
    assert next(stream)
    bundle.close()
    with pytest.raises(composer.ComposerError) as caught:
        list(stream)
    message = str(caught.value)
    assert "R508 the bundle was closed while it ran\n    at node 'answer' (decoder.gen" in message
    assert message.endswith("hint: load it again")
    stream.close()
    assert stream.result is None
    for use in (bundle.load, lambda: bundle.run(audio=CLIP)):
        with pytest.raises(composer.ComposerError, match="R508 the bundle is closed"):
            use()


@VARIANTS
def test_a_run_whose_bundle_is_closed_by_another_thread_ends_in_an_error(variant):
    bundle = load(variant)
    bundle.load()
    stream = bundle.stream(audio=CLIP)
    next(stream)
    closing = threading.Thread(target=bundle.close)
    closing.start()
    closing.join()  # else the text might end before
    with pytest.raises(composer.ComposerError, match="R508"):
        "".join(stream)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="forks")
@pytest.mark.parametrize("when", ["opened", "loaded", "streaming"])
@VARIANTS
def test_a_fork_cannot_use_what_its_parent_loaded(variant, when):
    done = subprocess.run(
        [sys.executable, "-c", FORKED, variant or "", when],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "R509 the bundle was loaded by process" in done.stdout
    assert "load the bundle in each process, or start processes by spawn" in done.stdout
    assert "child 0\nparent True\n" in done.stdout


ENDING = """
import os, sys, time, warnings
import composer

warnings.simplefilter("ignore")
with composer.load("mega-asr-mini", variant=sys.argv[1] or None) as bundle:
    stream = bundle.stream(audio="CLIP")
    next(stream)
    if sys.argv[2] == "loaded":
        list(stream)
    child = os.fork()
    if child:
        print("child", os.waitpid(child, 0)[1] >> 8)
        print("parent", bundle.run(audio="CLIP").text != "")
    else:
        try:
            bundle.run(audio="CLIP")
        except composer.ComposerError as error:
            print(error.problems[0].code, end=" ")
        sys.exit(7)
""".replace("CLIP", CLIP)


@pytest.mark.skipif(sys.platform != "linux", reason="forks, on glibc")
@pytest.mark.parametrize("when", ["loaded", "streaming"])
@VARIANTS
def test_a_fork_that_runs_to_its_end_ends_with_its_own_status(variant, when):
    """What the libraries do at an exit waits for threads that a fork does not have."""
    done = subprocess.run(
        [sys.executable, "-c", ENDING, variant or "", when],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "R509 child 7\nparent True\n"
