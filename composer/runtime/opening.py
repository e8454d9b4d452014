"""Open a bundle: check it, place its components, and load them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from composer.checker import check_variant
from composer.manifest.precision_request import PrecisionRequest, read_precision
from composer.manifest.recipes import PrecisionChange
from composer.runtime.bundle import Bundle
from composer.runtime.loading import check_placement
from composer.runtime.profile import Profile
from composer.sources.resolve import find_bundle


@dataclass(frozen=True)
class BundleOptions:
    """A bundle as somebody asks for it, from its manifest to where it runs.

    `name` is a path, a shipped name, or an ID of the Hub. `sources` are folders that stand in for
    sources, `precision` dtypes and recipes by component, `backends` what runs a component that
    names a family, by component or for all under `*`; both go before those of the `profile`. With
    `trust`, files of the Hub are not tried in a child process first; `lock` is taken for the one
    beside the manifest.
    """

    name: str | Path
    variant: str | None = None
    profile: Profile = field(default_factory=Profile)
    sources: Mapping[str, Path] = field(default_factory=dict)
    precision: Mapping[str, PrecisionRequest] = field(default_factory=dict)
    backends: Mapping[str, str] = field(default_factory=dict)
    trust: bool = False
    lock: Path | None = None

    @property
    def title(self) -> str:
        """Return what distinguishes the bundle from another edition of it."""
        parts = [str(self.name)]
        if self.variant:
            parts.append(f"variant {self.variant}")
        parts += [f"{name}={asked}" for name, asked in self.precision.items()]
        return ", ".join(parts)

    def open(self) -> Bundle:
        """Check the bundle and place its components, none of which is loaded yet.

        Raise ComposerError when it is refused.
        """
        report = check_variant(
            find_bundle(self.name, self.lock),
            self.variant,
            sources=self.sources,
            precision=self.asked(),
            backends={**self.profile.backends, **self.backends},
        )
        checked = report.raise_if_refused()
        check_placement(checked, self.profile)
        return Bundle(checked, self.profile, self.trust)

    def asked(self) -> dict[str, PrecisionRequest]:
        """Return what is asked of each component, in a profile and over it."""
        found: dict[str, PrecisionRequest] = dict(self.profile.precision)
        for name, given in self.precision.items():
            try:
                base = found.get(name, PrecisionChange())
                found[name] = read_precision(given).over(read_precision(base))
            except ValueError:
                found[name] = given  # the check says what is wrong with it
        return found


def load(
    bundle: str | Path,
    *,
    task: str | None = None,
    variant: str | None = None,
    profile: Profile | None = None,
    sources: Mapping[str, Path] | None = None,
    precision: Mapping[str, PrecisionRequest] | None = None,
    backends: Mapping[str, str] | None = None,
    trust: bool = False,
    lock: Path | None = None,
) -> Bundle:
    """Check a bundle and load what its tasks need, or what one task needs.

    `bundle` is a path, a shipped name, or an ID of the Hub, whose files are downloaded and
    verified. What comes from there is loaded in a child process first, once, unless there is
    `trust`, or a lock of your own: `lock`, or the one beside the manifest.
    Raise ComposerError when the bundle is refused.
    """
    loaded = BundleOptions(
        bundle,
        variant,
        profile or Profile(),
        sources or {},
        precision or {},
        backends or {},
        trust,
        lock,
    ).open()
    try:
        loaded.load(task)
    except BaseException:
        loaded.close()
        raise
    return loaded
