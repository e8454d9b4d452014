"""Write down what a bundle was when it was sound, and refuse it when it is something else.

`bundle.lock` is JSON beside the manifest: the commit of each source, size and sha256 of each file
that a component reads, the ports and dims that were bound from them, and the licences as stated.

`read_lock(path)` is a `Lock`. A check holds files by size and remembered digest (`differences`), a
load by sha256 (`hold_bytes`). `composer.lock.make` writes one and `composer.lock.verify` holds all
of it against a cache or folder, without a network.

Raises ComposerError: S464 for a lock that is none, S465 for files and S466 for all else that
differs.
"""

from composer.lock.entries import Lock, lock_beside, read_lock
from composer.lock.hold import differences, hold_bytes, spares_probe

__all__ = ["Lock", "differences", "hold_bytes", "lock_beside", "read_lock", "spares_probe"]
