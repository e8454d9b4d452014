"""Diagnosing through Python alone."""

import composer


def test_a_diagnosis_covers_everything():
    found = list(composer.diagnose())
    sections = dict.fromkeys(each.section for each in found)
    assert [*sections][:4] == ["machine", "packages", "backends", "components"]
    assert any(each.text.startswith("ONNX Runtime") and each.ok for each in found)
