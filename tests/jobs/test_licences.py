"""Licences through Python alone."""

import composer


def test_licences_are_gathered():
    found = composer.licences("mega-asr-mini")
    assert found.bundle == "mega-asr-mini"
    assert found.stated[0].kind == "bundle"
    assert found.stated[0].licence
