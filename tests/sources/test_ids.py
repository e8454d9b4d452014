import pytest

from composer.sources.hub import HubId, is_id, parse_id
from tests.sources.conftest import refusal

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "repo", "revision"),
    [
        ("owner/name", "owner/name", None),
        ("hf:owner/name", "owner/name", None),
        ("hf:Reza2kn/mega-asr-mlx@v1.0", "Reza2kn/mega-asr-mlx", "v1.0"),
        ("a/b@refs/pr/3", "a/b", "refs/pr/3"),
        (f"a/b@{COMMIT}", "a/b", COMMIT),
    ],
)
def test_an_id(text, repo, revision):
    assert is_id(text)
    assert parse_id(text) == HubId(repo, revision)


@pytest.mark.parametrize(
    "text",
    ["../x", "hf:../x", "hf:a/..", "a/b/c", "hf:org/a--b", "https://x/y", "hf:a", "hf:", "hf:/b",
     "hf:a/b.git", "hf:a/b\0", "hf:-a/b", "hf:a/b c", "hf:" + "a" * 200 + "/b", "hf:a/é"],
)  # fmt: skip
def test_no_id(text):
    (found,) = refusal(parse_id, text)
    assert found.startswith("S414 ")
    assert "is not a hub ID" in found


@pytest.mark.parametrize(
    "revision", ["../../x", "a//b", "", "x\0", "/abs", "a/", "x" * 300, "é", "~1"]
)
def test_no_revision(revision):
    (found,) = refusal(parse_id, f"hf:a/b@{revision}")
    assert found.startswith("S414 ")
    assert "is not a revision of hf:a/b" in found


@pytest.mark.parametrize(
    "text", ["mega-asr", "./a/b", "a/b/c", "dir/bundle.yaml", "a/b.json", "/a/b"]
)
def test_what_is_no_id_but_a_path_or_a_name(text):
    assert not is_id(text)
