"""The catalogue through Python alone."""

import composer


def test_the_catalogue_lists_what_ships():
    found = composer.catalogue()
    mini = {each.name: each for each in found.bundles}["mega-asr-mini"]
    assert "miniature" in mini.verified
    assert mini.summary
    assert all(entry.missing for entry in found.planned.values())
