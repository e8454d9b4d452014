"""Find bundles on the Hub, read their headers from afar, and download what is needed, verified.

`parse_id("hf:owner/name@main")` is a `HubId`, and `snapshot(id)` that repository at one commit,
asked for once in a process: `.commit`, and `.files` by path, each a `HubFile` with its size and
digest (sha256 for LFS, git's blob hash for the rest). Offline, both come from the cache.

`.root` is the folder that its files have in the Hugging Face cache once they are here. A `Location`
with that root works before anything is downloaded: `HubFiles` reads what is here from the disk, and
small files and ranges of large ones over the network. So `composer check` reads headers alone, and
a component names the files that it reads by opening them: `Known.files`.

`required_files(checked, components)` lists these files, `fetch(needs)` downloads and verifies what
is not here (`fetch_file` one alone), and `held(need)` tells whether one is here and was verified.
`pin` takes a commit for a revision. `composer.runtime.sandbox` loads components in a child process
first.

Nothing here imports huggingface_hub or httpx before it asks the network.

Raises ComposerError: S490 to S499 where the network or the Hub is the trouble, other S codes where
what it says or sends is refused.
"""

from composer.sources.hub.download import fetch, held
from composer.sources.hub.files import HubFiles
from composer.sources.hub.ids import HubId, is_id, parse_id
from composer.sources.hub.required_file import RequiredFile
from composer.sources.hub.snapshots import Snapshot, pin, snapshot, snapshot_of
from composer.sources.hub.transfer import fetch_file
from composer.sources.hub.tree import HubFile

__all__ = [
    "HubFile",
    "HubFiles",
    "HubId",
    "RequiredFile",
    "Snapshot",
    "fetch",
    "fetch_file",
    "held",
    "is_id",
    "parse_id",
    "pin",
    "snapshot",
    "snapshot_of",
]
