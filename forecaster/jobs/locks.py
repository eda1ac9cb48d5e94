"""One process at a time at a piece of work: a lock on an open file, which dies with its process."""

import contextlib
import fcntl
import os
from typing import IO


def take_lock(file: IO[str]) -> str | None:
    """Hold the lock of a file that is open for appending, and write into it who does; or say who holds it already.

    None when it is held now, until the file is closed.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        return file.read().strip() or "another process"
    with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    return None
