"""The catalogue through Python alone."""

import composer


def test_the_catalogue_lists_what_ships():
    found = composer.catalogue()
    mini = {each.name: each for each in found.bundles}["mega-asr-mini"]
    assert "miniature" in mini.verified
    assert mini.summary
    assert all(entry.missing for entry in found.planned.values())


def test_it_lists_the_families_of_checkpoints():
    found = {each.name: each for each in composer.catalogue().families}
    assert found["lm"].tasks == ("chat",)
    assert "qwen3" in found["lm"].recognises["model_type"]
    assert "Qwen/Qwen3-ASR-0.6B" in found["qwen3-asr"].ids
    assert all(each.ids or each.unsettled for each in found.values())
