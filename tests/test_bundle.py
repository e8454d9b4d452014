import time

import numpy as np
import pytest

import composer
from composer import ComposerError, Placement, Profile
from tests.fakes import BUNDLE, WIDTH, write

pytestmark = pytest.mark.usefixtures("fakes")

CLIP = (np.arange(8, dtype=np.float32) / 8, 8000)


@pytest.fixture
def bundle(tmp_path):
    with composer.load(write(tmp_path)) as loaded:
        yield loaded


def error_text(call, *args, **kwargs):
    with pytest.raises(ComposerError) as caught:
        call(*args, **kwargs)
    return [str(problem) for problem in caught.value.problems]


def test_run(bundle):
    result = bundle.run(audio=CLIP, line="xyz")
    assert result.text == "8."
    assert result.outputs == {"text": "8."}
    assert result.finish_reason == "stop"
    assert result.tokens == 2
    assert list(result.timings) == ["mel", "soft", "asked", "words", "embeds", "answer"]
    assert bundle.run(audio=CLIP).text == "7."


def test_stream(bundle):
    stream = bundle.stream(audio=CLIP)
    assert stream.result is None
    assert list(stream) == ["7", "."]
    assert stream.result.text == "7."


def test_options(bundle):
    result = bundle.run(audio=CLIP, options={"answer": {"max_tokens": 1}})
    assert (result.text, result.finish_reason) == ("7", "length")


def test_options_are_checked(bundle):
    wrong = {"answer": {"max_tokens": "many", "max_token": 1}}
    assert error_text(bundle.run, audio=CLIP, options=wrong) == [
        "R544 cannot set on 'answer' the option 'max_token': there is no such name\n"
        "    hint: did you mean 'max_tokens'?",
        "R542 'answer': option 'max_tokens' should be a whole number, not 'many'",
    ]


def test_taps_and_feeds(bundle):
    result = bundle.run(audio=CLIP, taps=["soft", "asked.ids", "answer.ids", "embeds", "line"])
    assert set(result.taps) == {"soft", "asked.ids", "answer.ids", "embeds", "line"}
    assert result.taps["soft"].shape == (4, WIDTH)
    np.testing.assert_array_equal(result.taps["embeds"][1:5], result.taps["soft"])
    np.testing.assert_array_equal(result.taps["asked.ids"], [1, 99, 99, 99, 99, 104, 105])
    np.testing.assert_array_equal(result.taps["answer.ids"], [ord("7"), ord(".")])
    fed = bundle.run(audio=CLIP, feed={"embeds": np.zeros((7, WIDTH), np.float32)})
    assert fed.text == "7."
    assert "embeds" not in fed.timings
    longer = bundle.run(feed={"soft": np.ones((5, WIDTH), np.float32)})
    assert longer.text == "8."
    assert list(longer.timings) == ["asked", "words", "embeds", "answer"]
    assert bundle.run(feed={"answer.text": "fed", "answer.ids": []}).timings == {}
    slots = {"soft": np.ones((5, WIDTH), np.float32), "asked.slots": np.ones(7, bool)}
    assert error_text(bundle.run, audio=CLIP, feed=slots, line="x") == [
        f"{bundle.checked.manifest.path}:17:3: R502 scatter has 5 rows of values for "
        "7 marked positions\n    at node 'embeds' (scatter), given base f32 [7, 4], at bool [7], "
        "values f32 [5, 4]\n"
        "    hint: 'at' must be the slots of the prompt that these very rows expanded"
    ]
    mel, mask = np.ones((3, 2), np.float32), np.ones(3, bool)
    assert bundle.run(audio=CLIP, feed={"mel": mel, "mel.mask": mask}).text == "6."
    everything = bundle.run(audio=CLIP, taps=True).taps
    assert set(everything) == {
        "audio", "line", "mel", "mel.mask", "soft", "asked.ids", "asked.slots", "asked.text",
        "words", "embeds", "answer.text", "answer.ids", "answer.finish_reason",
    }  # fmt: skip


def test_fed_values_are_checked(bundle):
    assert error_text(bundle.run, audio=CLIP, feed={"sofft": np.ones((5, WIDTH)), "soft": "x"}) == [
        "R544 cannot feed 'sofft': there is no such name\n    hint: did you mean 'soft'?",
        "R542 'soft' needs 'f32 N D @echo.embed', not str []",
    ]


def test_inputs_are_checked_all_at_once(bundle):
    assert error_text(bundle.run, adio=CLIP, line=3) == [
        "R540 the bundle has no input 'adio'\n    hint: did you mean 'audio'?",
        "R541 input 'audio' (audio) is not given\n"
        "    hint: -i audio=... on the command line, audio=... in Python",
        "R542 'line' needs text, not int",
    ]
    assert error_text(bundle.run, audio=CLIP, line="\ud800") == [
        "R542 'line' has a lone surrogate at character 0, which is not allowed in text\n"
        "    hint: decode the bytes as UTF-8"
    ]


def test_unknown_names(bundle):
    assert error_text(bundle.run, task="chat", audio=CLIP) == [
        "R543 the bundle has no task 'chat'\n    hint: tasks: default"
    ]
    assert error_text(bundle.run, audio=CLIP, taps=["sofft"], options={"anwser": {}}) == [
        "R544 cannot tap 'sofft': there is no such name\n    hint: did you mean 'soft'?",
        "R544 cannot set options of 'anwser': there is no such name\n"
        "    hint: did you mean 'answer'?",
    ]


def test_a_failure_names_its_node_and_what_went_in(bundle, tmp_path):
    loud = (np.full(8, 1.0, np.float32), 8000)
    found = error_text(bundle.run, audio=loud, feed={"mel": np.full((4, 2), 1e9, np.float32)})
    assert found == [
        f"{tmp_path}/bundle.yaml:14:3: R500 widen failed: ZeroDivisionError: too loud\n"
        "    at node 'soft' (widen), given x f32 [4, 2]"
    ]


def test_rows_must_match_slots(bundle, tmp_path):
    found = error_text(
        bundle.run, audio=CLIP, feed={"asked.slots": np.array([0, 1, 1, 0, 0, 0, 0], bool)}
    )
    assert found == [
        f"{tmp_path}/bundle.yaml:17:3: R502 scatter has 4 rows of values for 2 marked positions\n"
        "    at node 'embeds' (scatter), given base f32 [7, 4], at bool [7], values f32 [4, 4]\n"
        "    hint: 'at' must be the slots of the prompt that these very rows expanded"
    ]


def test_actual_dims_are_checked_against_the_declared(bundle, tmp_path):
    found = error_text(bundle.run, audio=CLIP, feed={"asked.slots": np.zeros(6, bool)})
    assert found == [
        f"{tmp_path}/bundle.yaml:15:3: R501 axis 0 of $asked.ids is 7, but 6 was expected\n"
        "    6 comes from axis 0 of $asked.slots\n"
        "    at node 'asked' (ask), given speech f32 [4, 4], line (2 characters)"
    ]
    path = write(tmp_path, BUNDLE, ("use: fake.widen", "use: fake.widen, config: {dtype: float16}"))
    with composer.load(path) as other:
        assert error_text(other.run, audio=CLIP) == [
            f"{tmp_path}/bundle.yaml:14:3: R503 $soft came out as f16 [4, 4], "
            "but 'f32 N D @echo.embed' was declared\n"
            "    at node 'soft' (widen), given x f32 [4, 2]"
        ]


def test_a_given_tensor_is_checked_against_its_port(tmp_path):
    text = BUNDLE.replace("audio: audio", "mel: {type: tensor, port: f32 F M}")
    text = text.replace("  mel: {run: frames, with: {audio: $audio}}\n", "")
    text = text.replace("  frames: {use: fake.frames}\n", "")
    with composer.load(write(tmp_path, text)) as bundle:
        assert bundle.run(mel=np.ones((4, 2), np.float32)).text == "7."
        assert error_text(bundle.run, mel=np.ones((4, 3), np.float32)) == [
            f"{tmp_path}/bundle.yaml:9:3: R501 axis 1 of $mel is 3, but 2 was expected\n"
            "    2 comes from widen: in"
        ]


def test_casts_happen_at_crossings(tmp_path):
    path = write(tmp_path, BUNDLE, ("use: fake.echo", "use: fake.echo, precision: float16"))
    with composer.load(path) as bundle:
        result = bundle.run(audio=CLIP, taps=["soft", "embeds"])
        assert result.taps["soft"].dtype == np.float32
        assert result.taps["embeds"].dtype == np.float16
        assert [str(c) for c in bundle.plan().crossings] == [
            "$audio -> mel.audio: audio at its own rate -> audio at 8000 Hz",
            "$soft -> embeds.values: f32 in numpy -> f16 in numpy",
        ]
    assert composer.load(path, precision={"echo": "float16"}).run(audio=CLIP).text == "7."


def test_values_are_dropped_after_their_last_use(bundle):
    drops = {step.node.name: step.drops for step in bundle.plan().steps}
    assert drops == {
        "mel": ("mel.mask",),
        "soft": ("mel",),
        "asked": ("asked.text", "line"),
        "words": ("asked.ids",),
        "embeds": ("asked.slots", "soft", "words"),
        "answer": ("answer.finish_reason", "answer.ids", "embeds"),
    } | {"mel": ("audio", "mel.mask")}


def test_map_keeps_order_and_goes_on(bundle):
    longer = (np.arange(12, dtype=np.float32) / 12, 8000)
    items = [{"audio": CLIP}, {"audio": "missing.wav"}, {"audio": longer}]
    one, two, three = bundle.map(items)
    assert (one.text, three.text) == ("7.", "9.")
    assert isinstance(two, ComposerError)
    assert "missing.wav" in str(two)


def test_tasks_share_components(tmp_path):
    head, _, graph = BUNDLE.partition("inputs:\n")
    graph = "inputs:\n" + graph
    body = "".join(f"    {line}\n" for line in graph.splitlines())
    text = (
        f"{head}tasks:\n  transcribe:\n{body}  shout:\n    inputs: {{line: text}}\n"
        "    graph:\n      loud: {run: upper, with: {text: $line}}\n"
        "    outputs: {text: $loud}\n"
    ).replace("  echo: {", "  upper: {use: fake.upper}\n  echo: {")
    with composer.load(write(tmp_path, text), task="shout") as bundle:
        assert bundle.run(task="shout", line="hey").text == "HEY"
        assert list(bundle.load_seconds) == ["upper"]
        assert bundle.run(task="transcribe", audio=CLIP).text == "7."
        assert error_text(bundle.run, line="x") == [
            "R543 the bundle has several tasks\n    hint: choose: transcribe, shout"
        ]


def test_variants(tmp_path):
    text = BUNDLE + (
        "variants:\n  terse: {graph: {answer: {with: {max_tokens: 1}}}}\n"
        "  wide: {components: {widen: {config: {width: 5}}}}\n"
    )
    path = write(tmp_path, text)
    with composer.load(path, variant="terse") as bundle:
        assert bundle.run(audio=CLIP).text == "7"
    report = composer.check(path)
    assert [str(p) for p in report.problems] == [
        f"{path}:17:73: W209 in the variant 'wide': axis 1 of $soft is 5 but scatter.values needs "
        "4\n"
        "    5 comes from widen: weight [2, 5]\n    4 comes from echo: embed [128, 4]\n"
        "    hint: put a projector between them, or use parts that were trained together"
    ]
    assert composer.check(path, variant="terse").ok


def test_a_memory_budget_is_kept(tmp_path):
    assert error_text(composer.load, write(tmp_path), profile=Profile(memory=1000)) == [
        "R505 the weights need 2.05e-06 GB, and the profile allows 1e-06\n"
        "    echo: 2.05e-06 GB\n    hint: choose a smaller variant, or raise memory_gb"
    ]


def test_a_profile_places_only_what_there_is(tmp_path):
    profile = Profile(components={"ecko": Placement(threads=1)})
    assert error_text(composer.load, write(tmp_path), profile=profile) == [
        "R544 cannot place the component 'ecko': there is no such name\n"
        "    hint: did you mean 'echo'?"
    ]


def test_unknown_bundle():
    (found,) = error_text(composer.load, "no-such-bundle")
    what = "neither a file or folder here nor a shipped bundle"
    assert found.startswith(f"S474 there is no bundle 'no-such-bundle': {what}")


def test_a_default_stands_in_for_none(bundle):
    assert bundle.run(audio=CLIP, line=None).text == "7."


def test_placement_applies_where_it_is_understood(tmp_path):
    text = BUNDLE.replace("  echo:", "  placed: {use: fake.placed}\n  echo:")
    text = text.replace("  answer:", "  where: {run: placed, with: {text: $line}}\n  answer:")
    text = text.replace("outputs: {", "outputs: {where: $where, ")
    path = write(tmp_path, text)
    everywhere = Profile(default=Placement(threads=2))
    with composer.load(path, profile=everywhere) as bundle:
        assert bundle.run(audio=CLIP).outputs["where"] == "{'threads': 2}"
    here = Profile(default=Placement(threads=2), components={"placed": Placement(threads=3)})
    with composer.load(path, profile=here) as bundle:
        assert bundle.run(audio=CLIP).outputs["where"] == "{'threads': 3}"
    wrong = Profile(components={"placed": Placement(device="gpu"), "echo": Placement(threads=1)})
    assert sorted(error_text(composer.load, path, profile=wrong)) == [
        "R546 cannot place 'echo' by 'threads': fake.echo does not read it\n"
        "    hint: it reads: precision",
        "R546 cannot place 'placed' by 'device': fake.placed does not read it\n"
        "    hint: it reads: threads",
    ]
    nowhere = Profile(default=Placement(threads=2, providers=("CPU",)))
    assert error_text(composer.load, path, profile=nowhere) == [
        "R546 nothing in fake-asr can be placed by 'providers'\n"
        "    hint: leave it out for this bundle"
    ]


def test_a_stream_keeps_its_result_and_can_be_given_up(bundle):
    stream = bundle.stream(audio=CLIP)
    assert list(stream) == ["7", "."]
    assert list(stream) == []
    assert stream.result.text == "7."
    with bundle.stream(audio=CLIP) as half_read:
        assert next(iter(half_read)) == "7"
    assert list(half_read) == []
    assert half_read.result is None
    assert bundle.run(audio=CLIP).text == "7."


def test_the_reader_of_a_stream_takes_its_own_time(bundle):
    stream = bundle.stream(audio=CLIP)
    for _ in stream:
        time.sleep(0.2)
    assert stream.result.timings["answer"] < 0.2


def test_a_closed_bundle_does_not_run(tmp_path):
    bundle = composer.load(write(tmp_path))
    bundle.close()
    assert error_text(bundle.run, audio=CLIP) == [
        "R508 the bundle is closed\n    hint: load it again"
    ]


def test_a_missing_text_is_reported(tmp_path):
    path = write(tmp_path, BUNDLE, ("{text: $answer.text}", "{line: $answer.text}"))
    with composer.load(path) as bundle, pytest.raises(AttributeError, match="there are: line"):
        _ = bundle.run(audio=CLIP).text


def test_one_node_alone(bundle):
    whole = bundle.run(audio=CLIP, taps=True)
    alone = bundle.run(only=["soft"], feed={"mel": whole.taps["mel"]}, taps=["soft"])
    np.testing.assert_array_equal(alone.taps["soft"], whole.taps["soft"])
    assert list(alone.timings) == ["soft"]
    assert alone.outputs == {}
    ends = bundle.run(only=["answer"], feed={"embeds": whole.taps["embeds"]})
    assert ends.outputs == whole.outputs


def test_what_one_node_reads_must_be_there(bundle):
    assert error_text(bundle.run, only=["soft"], taps=["soft", "words"]) == [
        "R547 'soft' reads $mel, which is not run\n    hint: feed mel",
        "R547 $words is to be kept, and nothing that runs makes it",
    ]
    assert error_text(bundle.run, only=["sooft"]) == [
        "R544 cannot run only 'sooft': there is no such name\n    hint: did you mean 'soft'?"
    ]
