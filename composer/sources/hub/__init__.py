"""Find bundles on the Hub, read their headers remotely, and download and verify their files.

`parse_id("hf:owner/name@main")` is a `HubId`, and `Hub().snapshot(id)` that repository at one
commit, requested once by this `Hub`: `.commit`, and `.files` by path, each a `HubFile` with its
size and digest (sha256 for LFS, git's blob hash for the rest). Offline, both come from the cache.

`.root` is the folder of its files in the Hugging Face cache once downloaded; `.location(source)`
works before that: `HubFiles` reads local files from disk, and small files and ranges of large ones
over the network. So `composer check` reads headers alone, and a component's files are those that
it opens: `CheckedComponent.files`.

`required_files(checked, components)` lists these files, `fetch(needs)` downloads and verifies those
not yet downloaded (`fetch_file` a single one); `is_downloaded(need)` is whether one is verified.
`Hub.pin` fixes a revision's commit. `composer.runtime.sandbox` loads components in a child process
first.

Nothing here imports huggingface_hub or httpx before a request.

Raises ComposerError: S490 to S499 for failures of the network or the Hub, other S codes for
content that is refused.
"""

from composer.sources.hub.download import download_files, is_downloaded
from composer.sources.hub.files import HubFiles
from composer.sources.hub.ids import HubId, is_id, parse_id, split_file_part
from composer.sources.hub.required_file import RequiredFile
from composer.sources.hub.snapshots import Hub, Snapshot, snapshot_of
from composer.sources.hub.transfer import fetch_file
from composer.sources.hub.tree import HubFile

__all__ = [
    "Hub",
    "HubFile",
    "HubFiles",
    "HubId",
    "RequiredFile",
    "Snapshot",
    "download_files",
    "fetch_file",
    "is_downloaded",
    "is_id",
    "parse_id",
    "snapshot_of",
    "split_file_part",
]
