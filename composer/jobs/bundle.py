"""Open the bundle that a job is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from composer.runtime.bundle import Bundle
from composer.runtime.opening import BundleOptions

AnyBundle = str | Path | BundleOptions | Bundle
Options = Mapping[str, Mapping[str, Any]]


@contextmanager
def open_bundle(bundle: AnyBundle) -> Iterator[Bundle]:
    """Yield a bundle that is open as it is, and any other open, to close it at the end."""
    if isinstance(bundle, Bundle):
        yield bundle
        return
    with as_bundle_options(bundle).open() as found:
        yield found


def as_bundle_options(bundle: str | Path | BundleOptions) -> BundleOptions:
    """Return how a bundle is opened: as it says, or without any options."""
    if isinstance(bundle, BundleOptions):
        return bundle
    return BundleOptions(bundle)
