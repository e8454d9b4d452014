"""From a manifest to typed graphs: what the components know, and whether the wires fit."""

from composer.checker.report import Checked, Report, check, check_variant

__all__ = ["Checked", "Report", "check", "check_variant"]
