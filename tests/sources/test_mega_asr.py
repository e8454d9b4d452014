"""A twin of Mega-ASR's repository is locked, and run without a network."""

import shutil
from pathlib import Path

import composer
from composer.cli import main
from tests.reference.qwen3_asr import RATE, make_clip
from tests.reference.test_mega_asr import Release
from tests.sources.checkpoints import files_of


def test_its_id_runs_and_a_locked_manifest_runs_offline(hub, new_process, tmp_path, one_thread):
    published = Release(tmp_path / "release")
    hub({"zhifeixie/Mega-ASR": files_of(published.repo)})
    given = {"audio": (make_clip(0.5), RATE), "options": {"answer": {"max_tokens": 3}}}
    want = composer.load("zhifeixie/Mega-ASR").run(**given).text
    shutil.copy(Path("bundles/mega-asr-1-7b.yaml"), tmp_path / "bundle.yaml")
    assert main(["lock", str(tmp_path)]) == 0
    new_process(offline=True)
    assert composer.load(tmp_path).run(**given).text == want
