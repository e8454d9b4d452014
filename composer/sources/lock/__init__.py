"""Record the exact files and ports of a bundle, and refuse it when they differ.

`bundle.lock` is JSON beside the manifest: the commit of each source, size and sha256 of each file
that a component reads, the ports and dims that were bound from them, and the licences as stated.

`read_lock(path)` is a `BundleLock`; `composer.checker.lock_differences` compares a bundle with it,
`composer.publishing.lock` writes one and `composer.publishing.verify` compares all of it with a
cache or folder, without a network.

Raises ComposerError: S464 for an invalid lock, S465 for files and S466 for anything else that
differs.
"""

from composer.sources.lock.entries import BundleLock, lock_beside, read_lock

__all__ = ["BundleLock", "lock_beside", "read_lock"]
