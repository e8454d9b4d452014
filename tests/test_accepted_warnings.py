"""Warnings that a manifest accepts, and what it cannot accept."""

import json
import shutil

import pytest
from tokenizers import Tokenizer, processors

import composer
from composer.sources.shipped import shipped_folder

MINI = shipped_folder("bundles") / "elderwise-mini"
ACCEPTS = "composer: 1\naccepts: {L340: trained without it, L341: the penalty is for chat}\n"


@pytest.fixture
def copy(tmp_path):
    """Return a bundle of both warnings: a tokenizer that begins texts, a penalty of the release."""
    folder = tmp_path / "mini"
    shutil.copytree(MINI, folder, ignore=shutil.ignore_patterns("clips"))
    path = folder / "decoder" / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    first = ("<|turn>", tokenizer.token_to_id("<|turn>"))
    tokenizer.post_processor = processors.TemplateProcessing(f"{first[0]} $A", None, [first])
    tokenizer.save(str(path))
    release = folder / "decoder" / "generation_config.json"
    release.write_text(json.dumps(json.loads(release.read_text()) | {"repetition_penalty": 1.05}))
    return folder


def change(folder, old, new):
    path = folder / "bundle.yaml"
    path.write_text(path.read_text().replace(old, new, 1))


def codes(folder):
    return [problem.code for problem in composer.check(folder).problems]


def test_what_is_accepted_is_left_out(copy):
    assert sorted(codes(copy)) == ["L340", "L340", "L341"]
    change(copy, "composer: 1\n", "composer: 1\naccepts: {L340: trained without it}\n")
    assert codes(copy) == ["L341"]
    change(copy, "accepts: {", "accepts: {L341: the penalty is for chat, ")
    assert codes(copy) == []


def test_what_warns_of_nothing_is_a_warning(copy):
    change(copy, "composer: 1\n", ACCEPTS.replace("L340: ", "L322: it ends, L340: "))
    assert [str(problem) for problem in composer.check(copy).problems] == [
        f"{copy}/bundle.yaml:3:11: L344 warning: accepts names L322, and this bundle has no such "
        "warning\n    hint: remove it"
    ]


def test_variants_may_have_warnings_of_their_own(copy):
    change(copy, "composer: 1\n", ACCEPTS.replace("L340: ", "L322: it ends, L340: "))
    change(copy, "sources:", "variants: {small: {summary: small}}\n\nsources:")
    assert codes(copy) == []


@pytest.mark.parametrize("code", ["S471", "M125", "all"])
def test_errors_and_other_families_cannot_be_accepted(copy, code):
    change(copy, "composer: 1\n", f"composer: 1\naccepts: {{{code}: why}}\n")
    (problem,) = composer.check(copy).problems
    assert problem.code == "M125"
    assert f"'{code}' in accepts is not a lint" in problem.message
    assert problem.hint == "a lint's code is L3 and two digits, such as L340"


def test_a_reason_is_needed(copy):
    change(copy, "composer: 1\n", "composer: 1\naccepts: {L340: }\n")
    assert [problem.code for problem in composer.check(copy).problems] == ["M123"]
