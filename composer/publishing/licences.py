"""Collect licences as stated by the manifest and by the repositories' cards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from composer.checker.lock_differences import source_text
from composer.core.errors import ComposerError
from composer.manifest import Manifest
from composer.sources.hub import HubId
from composer.sources.hub.card import card_of
from composer.sources.hub.errors import is_connection_failure
from composer.sources.lock import BundleLock
from composer.sources.resolve import ResolvedBundle

WHOLE, PART, SOURCE = "bundle", "part", "source"


@dataclass(frozen=True)
class LicenceStatement:
    """A licence as stated for the bundle or a part by the manifest, or for a source by its card.

    `licence` is None if none is stated; `unknown` is why it could not be read.
    """

    kind: str
    name: str
    licence: str | None
    details: tuple[str, ...] = ()
    unknown: str | None = None


def collect_licences(
    bundle: ResolvedBundle, manifests: Iterable[Manifest], lock: BundleLock | None = None
) -> list[LicenceStatement]:
    """Return every statement of a bundle's editions once; the lock's cards go before the Hub's."""
    found: list[LicenceStatement] = []
    for manifest in manifests:
        found.extend(manifest_statements(manifest))

        for text, id in _sources(bundle, manifest).items():
            found.append(_source(bundle, text, id, lock))
    order = (WHOLE, PART, SOURCE)
    return sorted(dict.fromkeys(found), key=lambda each: order.index(each.kind))


def manifest_statements(manifest: Manifest) -> Iterator[LicenceStatement]:
    """Yield what a manifest states of the whole and of its parts."""
    yield LicenceStatement(WHOLE, manifest.name, " and ".join(manifest.licence) or None)
    for origin in manifest.provenance:
        details = [origin.from_]
        if origin.how:
            details.append(origin.how)
        yield LicenceStatement(PART, origin.what, origin.licence, tuple(details))


def _sources(bundle: ResolvedBundle, manifest: Manifest) -> Mapping[str, HubId | None]:
    """Return the sources as they are written, with the repositories of those that have one."""
    own = bundle.repository
    found: dict[str, HubId | None] = {}
    for source in manifest.sources.values():
        if source.kind == "hf":
            found[source_text(source)] = HubId(source.value, source.revision)
        elif own:
            found[f"hf:{own.repo}"] = HubId(own.repo, own.commit)
        else:
            found[source.value] = None
    return found


def _source(
    bundle: ResolvedBundle, text: str, id: HubId | None, lock: BundleLock | None
) -> LicenceStatement:
    if id is None:
        return LicenceStatement(SOURCE, text, None, ("a folder, which has no card",))
    if lock and lock.is_trusted:
        locked = lock.model.sources.get(text)
        if locked and locked.licence:
            return _card(text, locked.licence)
    try:
        card = card_of(bundle.hub.snapshot(id))
    except ComposerError as error:
        if not is_connection_failure(error):
            raise
        return LicenceStatement(SOURCE, text, None, unknown=error.problems[0].message)
    if not card.was_read:
        return LicenceStatement(SOURCE, text, None, unknown="the Hub was not asked")
    return _card(text, card.stated)


def _card(text: str, stated: Mapping[str, str]) -> LicenceStatement:
    names = [stated[key] for key in ("license", "license_name") if key in stated]
    details = []
    if "license_link" in stated:
        details.append(f"terms: {stated['license_link']}")
    if "gated" in stated:
        details.append(f"access must be requested on the Hub (gated: {stated['gated']})")
    return LicenceStatement(SOURCE, text, ", ".join(names) or None, tuple(details))
