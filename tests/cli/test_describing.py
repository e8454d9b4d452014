"""Commands that run nothing: plan, show, list, schema, new, doctor."""

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from composer.core import registry
from composer.manifest.schema import schema_text
from composer.sources.shipped import shipped_folder
from tests.fakes import BUNDLE, Echo, Widen, write

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("fakes")

TASKS = """\
composer: 1
name: two-tasks
components: {up: {use: fake.upper}}
tasks:
  shout: {inputs: {text: text}, graph: {out: {run: up, with: {text: $text}}}, outputs: {text: $out}}
  pass: {inputs: {text: text}, graph: {a: {run: up, with: {text: $text}}}, outputs: {text: $a}}
"""


def test_plan(cli, tmp_path):
    path = write(tmp_path, BUNDLE, ("{use: fake.echo}", "{use: fake.echo, precision: float16}"))
    code, out, err = cli("plan", path)
    assert (code, err) == (0, "")
    assert out == (
        "fake-asr\n"
        "weights: 2.05 kB in memory\n"
        "  frames  fake.frames  -                              numpy\n"
        "  widen   fake.widen   -                              numpy\n"
        "  ask     fake.ask     -                              numpy\n"
        "  echo    fake.echo    2.05 kB  f16 (asked: float16)  numpy\n"
        "steps:\n"
        "       cast  $audio -> mel.audio: audio at its own rate -> audio at 8000 Hz\n"
        "   1 mel     frames(audio)                                     numpy\n"
        "       gives $mel: f32 F 2\n"
        "       gives $mel.mask: bool F\n"
        "       drops $audio, $mel.mask\n"
        "   2 soft    widen(x=mel)                                      numpy\n"
        "       gives $soft: f32 F 4 @echo.embed\n"
        "       drops $mel\n"
        "   3 asked   ask(speech=soft, line)                            numpy\n"
        "       gives $asked.ids: i64 T\n"
        "       gives $asked.slots: bool T\n"
        "       gives $asked.text: text\n"
        "       drops $asked.text, $line\n"
        "   4 words   echo.embed(ids=asked.ids)                         numpy\n"
        "       gives $words: f16 T 4 @echo.embed\n"
        "       drops $asked.ids\n"
        "       cast  $soft -> embeds.values: f32 in numpy -> f16 in numpy, 16 B x F\n"
        "   5 embeds  scatter(base=words, at=asked.slots, values=soft)  numpy\n"
        "       gives $embeds: f16 T 4 @echo.embed\n"
        "       drops $asked.slots, $soft, $words\n"
        "   6 answer  echo.generate(embeds)                             numpy\n"
        "       gives $answer.text: text\n"
        "       gives $answer.ids: i64 N\n"
        "       gives $answer.finish_reason: text\n"
        "       drops $answer.finish_reason, $answer.ids, $embeds\n"
        "crossings: 2\n"
    )


def test_plan_places_each_component_by_what_it_reads(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(Widen, "placement_keys", frozenset({"threads", "providers"}))
    monkeypatch.setattr(Echo, "placement_keys", frozenset({"device"}))
    profile = tmp_path / "profile.yaml"
    profile.write_text("threads: 4\ncomponents: {widen: {threads: 3}, echo: {device: gpu}}\n")

    def placed(*arguments):
        code, out, err = cli("plan", write(tmp_path), *arguments)
        assert (code, err) == (0, "")
        lines = out.partition("steps:")[0].splitlines()[2:]
        return {line.split()[0]: line.partition("numpy")[2] for line in lines}

    nothing = {"frames": "", "widen": "", "ask": "", "echo": ""}
    assert placed() == nothing
    flags = ["--threads", "1", "--provider", "CPUExecutionProvider"]
    assert placed(*flags) == {**nothing, "widen": ", 1 thread, CPUExecutionProvider"}
    assert placed("--device", "cpu") == {**nothing, "echo": ", device cpu"}
    file = ["--profile", profile]
    assert placed(*file) == {**nothing, "widen": ", 3 threads", "echo": ", device gpu"}
    both = placed(*file, *flags, "--device", "cpu")
    assert both == {
        **nothing, "widen": ", 1 thread, CPUExecutionProvider", "echo": ", device cpu"
    }  # fmt: skip
    profile.write_text("components: {echo: {threads: 3}}\n")
    code, out, err = cli("plan", write(tmp_path), *file)
    assert (code, out) == (2, "")
    assert err.startswith("R546 cannot place 'echo' by 'threads': fake.echo does not read it\n")
    profile.write_text("components: {eco: {device: cpu}}\n")
    assert "R544 cannot place the component 'eco'" in cli("plan", write(tmp_path), *file)[2]


def test_plan_names_a_decoder_that_continues_texts_one_by_one(cli, monkeypatch):
    assert "one by one" not in cli("plan", "mega-asr-mini", "--backend", "mlx")[1]
    monkeypatch.setattr("composer.components.mlx.continued_alone.TOGETHER", frozenset())
    out = cli("plan", "mega-asr-mini", "--backend", "mlx")[1]
    reason = "mlx-lm's qwen3 was not tested with several at once"
    assert f"  texts decoder: continued one by one: {reason}\n" in out


def test_plan_of_tasks(cli, tmp_path):
    path = write(tmp_path, TASKS)
    assert cli("plan", path)[1].count("two-tasks, task ") == 2
    assert cli("plan", path, "--task", "pass")[1].startswith("two-tasks, task pass\n")
    assert cli("plan", path, "--task", "chat")[0] == 2


def test_plan_without_the_files(cli):
    code, out, err = cli("plan", str(ROOT / "tests/manifests/mega-asr.yaml"))
    assert (code, out) == (3, "")
    assert "S473 encoder needs repo/onnx/audio_encoder_fp32.onnx" in err
    assert "S473 decoder needs repo/" in err
    assert (
        "hint: composer pull fetches it where there is a network, --source repo=FOLDER names a copy"
        in err
    )


def test_show_a_tree(cli, tmp_path):
    code, out, err = cli("show", write(tmp_path))
    assert (code, err) == (0, "")
    assert out == (
        "fake-asr: frames -> widen -> echo\n"
        "├─ components, 2.05 kB of weights\n"
        "│  ├─ frames  fake.frames  numpy\n"
        "│  ├─ widen   fake.widen   numpy                  emits echo.embed\n"
        "│  ├─ ask     fake.ask     numpy\n"
        "│  └─ echo    fake.echo    numpy  f32, 2.05 kB\n"
        "└─ graph\n"
        "   ├─ audio   audio                input\n"
        "   ├─ line    text                 = 'hi'\n"
        "   ├─ mel     f32 F 2              frames(audio)\n"
        "   │  ├─ cast  $audio -> mel.audio: audio at its own rate -> audio at 8000 Hz\n"
        "   │  └─ .mask  bool F\n"
        "   ├─ soft    f32 F 4 @echo.embed  widen(x=mel)\n"
        "   ├─ asked                        ask(speech=soft, line)\n"
        "   │  ├─ .ids    i64 T\n"
        "   │  ├─ .slots  bool T\n"
        "   │  └─ .text   text\n"
        "   ├─ words   f32 T 4 @echo.embed  echo.embed(ids=asked.ids)\n"
        "   ├─ embeds  f32 T 4 @echo.embed  scatter(base=words, at=asked.slots, values=soft)\n"
        "   ├─ answer                       echo.generate(embeds)\n"
        "   │  ├─ .text           text\n"
        "   │  ├─ .ids            i64 N\n"
        "   │  └─ .finish_reason  text\n"
        "   └─ text    text                 output: answer.text\n"
    )


def test_show_prints_what_a_plan_casts(cli, tmp_path):
    path = write(tmp_path, BUNDLE, ("{use: fake.echo}", "{use: fake.echo, precision: float16}"))
    lines = {line.strip("│├└─ ") for line in cli("show", path)[1].splitlines()}
    planned = cli("plan", path)[1].splitlines()
    casts = [line.strip() for line in planned if line.strip().startswith("cast")]
    assert len(casts) == 2
    assert casts[1].endswith("f32 in numpy -> f16 in numpy, 16 B x F")
    assert set(casts) <= lines


def test_show_prints_the_licence_and_the_origin(cli, tmp_path):
    about = (
        "licence: [Apache-2.0, MIT]\nprovenance:\n"
        "  - {what: encoder, from: 'hf:a/b', how: exported to ONNX, licence: MIT}\n"
        "  - {what: clips, from: espeak-ng}\ncomponents:\n"
    )
    code, out, err = cli("show", write(tmp_path, BUNDLE, ("components:\n", about)))
    assert (code, err) == (0, "")
    assert out.splitlines()[1:5] == [
        "├─ licence: Apache-2.0 and MIT",
        "│  ├─ encoder  from hf:a/b     exported to ONNX, MIT",
        "│  └─ clips    from espeak-ng",
        "├─ components, 2.05 kB of weights",
    ]
    text = BUNDLE.replace("components:\n", about.replace("licence: [Apache-2.0, MIT]\n", ""), 1)
    assert "├─ licence: not given\n" in cli("show", write(tmp_path, text))[1]


def test_show_into_a_file(cli, tmp_path):
    target = tmp_path / "graph.svg"
    assert cli("show", write(tmp_path), "-f", "svg", "-o", target) == (0, "", "")
    assert ET.parse(target).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    code, _, err = cli("show", tmp_path, "-o", tmp_path / "no" / "graph.svg")
    assert code == 5
    assert "R507 cannot write" in err


def test_show_a_refused_bundle(cli, tmp_path):
    path = write(tmp_path, BUNDLE, ("$asked.slots", "$asked.slot"))
    code, out, err = cli("show", path)
    assert code == 3
    assert "fake-asr" in out
    assert "W207" in err


def test_list(cli):
    code, out, err = cli("list")
    assert (code, err) == (0, "")
    code, out, err = cli("list", "--components")
    assert (code, err) == (0, "")
    assert "fake.widen\n  Repeat each frame to a width.\n  settings: width, rows, dtype\n" in out
    assert "audio.log_mel\n" in out
    assert "scatter (operator)\n  Put rows" in out


def test_list_components_for_programs(cli):
    code, out, err = cli("list", "--components", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    kinds = {each["name"]: each for each in found["components"]}
    assert kinds.keys() == set(registry.component_names())
    mel, decoder = kinds["audio.log_mel"], kinds["onnx.lm"]
    assert mel["config"]["properties"]["mels"]["maximum"] == 512
    assert mel["config"]["$defs"]["ClipPadding"]["properties"]["seconds"]
    assert mel["methods"]["__call__"]["inputs"]["audio"] == {
        "port": "audio 16000",
        "optional": False,
    }
    assert (decoder["family"], decoder["requires"], decoder["backend"]) == (
        "lm",
        ["weights"],
        "numpy",
    )
    assert decoder["methods"]["generate"]["streams"]
    operators = {each["name"]: each for each in found["operators"]}
    assert operators["scatter"]["outputs"] == {"out": "T D @S"}


def test_schema(cli):
    assert cli("schema") == (0, schema_text(), "")
    assert json.loads(schema_text())


def test_doctor(cli):
    code, out, err = cli("doctor")
    assert err == ""
    assert code == (5 if "\n! " in out else 0)
    for word in ("Python 3.", "composer 0.", "MLX: ", "ONNX Runtime: ", "audio.log_mel: "):
        assert word in out


def test_doctor_names_what_is_broken(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlx.core", None)
    code, out, _ = cli("doctor")
    assert code == 5
    assert "! MLX: ModuleNotFoundError: import of mlx.core halted; None in sys.modules\n" in out


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Stand in for the shipped bundles: one in a folder with weights, one a manifest alone."""
    root = tmp_path / "bundles"
    (root / "with-weights" / "weights").mkdir(parents=True)
    (root / "with-weights" / "weights" / "w.bin").write_bytes(b"w")
    write(root / "with-weights")
    comment = "# yaml-language-server: $schema=../schemas/bundle-1.schema.json\n"
    (root / "alone.yaml").write_text(comment + BUNDLE)
    real = shipped_folder("schemas")
    monkeypatch.setattr(
        "composer.sources.shipped.shipped_folder", lambda name: root if name == "bundles" else real
    )
    return root


def test_new_copies_a_bundle_whole(cli, shelf, tmp_path):
    code, out, err = cli("new", tmp_path / "mine", "--like", "with-weights")
    assert (code, err) == (0, "")
    assert out == f"{tmp_path}/mine/bundle.yaml: composer check {tmp_path}/mine checks it\n"
    assert (tmp_path / "mine" / "weights" / "w.bin").read_bytes() == b"w"
    assert cli("check", tmp_path / "mine")[0] == 0


def test_new_copies_a_manifest_and_its_schema(cli, shelf, tmp_path):
    assert cli("new", tmp_path / "mine", "--like", "alone")[0] == 0
    text = (tmp_path / "mine" / "bundle.yaml").read_text()
    named = BUNDLE.replace("name: fake-asr", "name: mine")
    assert text == "# yaml-language-server: $schema=./bundle-1.schema.json\n" + named
    assert (tmp_path / "mine" / "bundle-1.schema.json").read_text() == schema_text(shipped=True)
    assert cli("check", tmp_path / "mine")[0] == 0


def test_new_overwrites_nothing(cli, shelf, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept").write_text("")
    for target in (tmp_path / "mine", tmp_path / "mine" / "kept"):
        code, _, err = cli("new", target, "--like", "alone")
        assert code == 2
        assert "is not an empty folder" in " ".join(err.split())
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["kept"]


def test_new_like_nothing_known(cli, shelf, tmp_path):
    code, _, err = cli("new", tmp_path / "mine", "--like", "alnoe")
    assert code == 3
    assert "S474" in err
    assert not (tmp_path / "mine").exists()


def test_list_names_the_bundles(cli, shelf):
    (shelf / "bad.yaml").write_text("[")
    code, out, err = cli("list")
    assert (code, err) == (0, "")
    assert out == (
        "alone\ttranscribe\t0\t\tyes\tyes\tframes -> widen -> echo\n"
        "bad\t\t\t\tno\tyes\tcannot be read: composer check bad tells why\n"
        "with-weights\ttranscribe\t0\t\tyes\tyes\tframes -> widen -> echo\n"
    )
    about = "licence: [MIT, Apache-2.0]\nvariants: {small: {}, large: {}}\n"
    (shelf / "alone.yaml").write_text(BUNDLE + about)
    assert cli("list")[1].splitlines()[0].split("\t")[3] == "MIT and Apache-2.0"
    first, *_ = json.loads(cli("list", "--json")[1])["bundles"]
    assert (first["name"], first["variants"]) == ("alone", ["small", "large"])
