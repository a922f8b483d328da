"""Is a folder on a disk of this machine, or does another machine hold it?"""

from __future__ import annotations

import re
from pathlib import Path

_SHARED = re.compile(
    r"nfs|nfs4|cifs|smb\d?|smbfs|fuse\..+|lustre|gpfs|beegfs|ceph|glusterfs|afs|9p|ocfs2|gfs2"
    r"|orangefs|pvfs2|panfs|wekafs"
)
"""Linux's names of file systems that several machines can write to."""


MOUNTS = Path("/proc/self/mountinfo")
"""Linux's list of what is mounted where, as proc(5) describes it."""


def is_shared(folder: Path, *, mounts: Path = MOUNTS) -> bool:
    """Whether several machines may write to what is in a folder.

    Where that cannot be known (there is no such list on macOS), it counts as this machine's.

    Args:
        folder: It need not exist.
        mounts: The list.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    folder, found = folder.resolve(), (0, "")
    for line in lines:
        where, _, what = line.partition(" - ")
        place = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), where.split()[4]))
        # Of two at one place, the later one hides the other.
        if folder.is_relative_to(place) and len(place.parts) >= found[0]:
            found = (len(place.parts), what.split()[0])
    return _SHARED.fullmatch(found[1]) is not None
