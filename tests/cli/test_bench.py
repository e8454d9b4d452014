"""`composer bench`, its processes replaced by sessions in this one."""

import json
from hashlib import sha256

import pytest

from composer import read_audio
from composer.benchmarking import measure as measuring
from composer.benchmarking.benchmark_child import BenchmarkSession
from composer.benchmarking.process import RunTiming, StartTiming
from composer.sources.shipped import shipped_folder
from tests.fakes import BUNDLE, write

pytestmark = pytest.mark.usefixtures("fakes")
FEW = ("--starts", "1", "--runs", "2", "--warmup", "0")
VARIANT = "variants: {shy: {graph: {answer: {with: {end: '?'}}}}}\ninputs:"


@pytest.fixture(autouse=True)
def inside(monkeypatch):
    class Inside:
        def __init__(self, case):
            self.session = BenchmarkSession(case)
            self.start = StartTiming(
                0.1, 0.1, 0.1, self.session.startup["components"], 1, self.run()
            )

        def run(self):
            return RunTiming(**self.session.run())

        def close(self):
            self.session.bundle.close()

    monkeypatch.setattr(measuring, "BundleProcess", Inside)


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write(tmp_path, BUNDLE.replace("inputs:", VARIANT, 1))


def test_the_table(cli, bundle, clip):
    code, out, err = cli("bench", bundle, "-i", f"audio={clip()}", *FEW)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(
        "starts: 1, runs: 2, before them without counting: 0 of each; 0.00 s"
    )
    assert {"cold start", "tokens/s", "real-time factor", "peak all runs"} <= {
        line[:16].strip() for line in lines
    }
    assert lines[-1] == "2 tokens, ended by stop; outputs the same in every run"


def test_a_clip_of_the_bundles_own_is_taken_and_named(cli, bundle, clip):
    clip("clips/b.wav")
    clip("clips/a.wav", 4)
    (bundle.parent / "clips" / "references.jsonl").write_text("")
    code, out, err = cli("bench", bundle, *FEW, "--json")
    assert (code, err) == (0, "no audio is given; taking -i audio=clips/a.wav\n")
    report = json.loads(out)
    assert report["made_by"][0]["inputs"] == {"line": "hi", "audio": "clips/a.wav"}
    samples = read_audio("clips/a.wav").samples.tobytes()
    assert report["made_by"][0]["digests"] == {"audio": f"sha256:{sha256(samples).hexdigest()}"}
    assert report["measured"][0]["outputs"] == {"text": "5."}
    assert report["measured"][0]["figures"]["run"].keys() == {"median", "low", "high", "values"}
    assert (report["starts"], report["runs"], report["warmup"]) == (1, 2, 0)


def test_without_a_clip_it_asks(cli, bundle):
    code, out, err = cli("bench", bundle, *FEW)
    assert (code, out) == (2, "")
    assert err == (
        "R541 input 'audio' (audio) is not given\n"
        "    hint: -i audio=... on the command line, audio=... in Python\n"
    )


def test_a_variant_against_the_bundle_itself(cli, bundle, clip):
    call = ("bench", bundle, "-i", f"audio={clip()}", *FEW)
    code, out, err = cli(*call, "--vs-variant", "shy")
    assert (code, err) == (0, "")
    assert out.splitlines()[2].split() == [str(bundle), f"{bundle},", "variant", "shy", "ratio"]
    assert out.splitlines()[-3] == "the outputs DIFFER: text"
    report = json.loads(cli(*call, "--vs", bundle, "--json")[1])
    assert report["same_outputs"] is True
    assert "run answer" in report["ratios"]


def test_the_other_may_call_its_task_otherwise(cli, bundle, clip, tmp_path):
    head, _, rest = BUNDLE.partition("inputs:")
    rest = "".join(f"    {line}" for line in f"inputs:{rest}".splitlines(keepends=True))
    (tmp_path / "two.yaml").write_text(f"{head}tasks:\n  transcribe:\n{rest}  more:\n{rest}")
    call = ("-i", f"audio={clip()}", *FEW, "--json")
    for first, other in ((bundle, "two.yaml"), ("two.yaml", bundle)):
        code, out, _err = cli("bench", first, "--vs", other, *call)
        assert code == 0
        assert {made["task"] for made in json.loads(out)["made_by"]} == {"default", "transcribe"}
    code, out, _err = cli("bench", "two.yaml", "--task", "more", "--vs", bundle, *call)
    assert [made["task"] for made in json.loads(out)["made_by"]] == ["more", "default"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--vs", "nowhere"), "S474 there is no bundle 'nowhere'"),
        (("--vs-variant", "bold"), "bold"),
        (
            ("--vs-precision", "echo=int3"),
            "'int3' is neither a dtype nor a recipe; did you mean 'int8'?",
        ),
        (("--task", "sing"), "R543 the bundle has no task 'sing'"),
        (("--set", "answer.max_token=1"), "did you mean 'max_tokens'?"),
        (("-i", "sound=x.wav"), "R540 the bundle has no input 'sound'"),
        (("--runs", "0"), "--runs"),
    ],
)
def test_what_cannot_be_measured(cli, bundle, clip, more, message):
    code, out, err = cli("bench", bundle, "-i", f"audio={clip()}", *more)
    assert code in (2, 3)
    assert out == ""
    assert message in " ".join(err.split())


def test_a_shipped_bundle_and_its_clip(cli, monkeypatch):
    monkeypatch.chdir(shipped_folder("bundles"))
    code, out, err = cli("bench", "mega-asr-mini", *FEW, "--json")
    assert (code, err) == (
        0,
        "no audio is given; taking -i audio=mega-asr-mini/clips/dates-05.flac\n",
    )
    (measured,) = json.loads(out)["measured"]
    assert measured["same_in_every_run"]
    assert measured["figures"]["real-time factor"]["median"] > 0
    assert "run rest" in measured["figures"]


def test_another_bundle_may_take_other_inputs(cli, bundle, clip):
    given = ("-i", f"audio={clip()}", "--vs-input", "line=you", "--vs-input", f"audio={clip()}")
    code, out, _ = cli("bench", bundle, "--vs", bundle, *given, *FEW, "--json")
    assert code == 0
    assert [each["inputs"]["line"] for each in json.loads(out)["made_by"]] == ["hi", "you"]
    code, _, err = cli("bench", bundle, *given, *FEW)
    assert code == 2
    assert "--vs-input gives inputs to another bundle" in err
