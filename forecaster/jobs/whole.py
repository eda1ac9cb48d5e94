"""Files that are there whole or not at all, whatever ends the process that writes them."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import orjson


def write_whole(path: Path, write: bytes | Callable[[Path], object]) -> None:
    """Put bytes, or what `write` makes at the path that it is given, in the place of a file: synced, then renamed.

    What was there stays when anything fails. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if isinstance(write, bytes):
            beside.write_bytes(write)
        else:
            write(beside)
        _sync(beside)
        beside.replace(path)
        _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def write_json(path: Path, tree: object) -> None:
    """A JSON file that people can read, whole or not at all; NaN is null. Raises OSError."""
    write_whole(path, orjson.dumps(tree, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n")


def point_to(link: Path, target: Path) -> None:
    """Make a symbolic link point to a target, in one step; the link is relative, so that the folder may be moved."""
    beside = link.with_name(f".{link.name}.{os.getpid()}.part")
    beside.unlink(missing_ok=True)
    beside.symlink_to(os.path.relpath(target, link.parent))
    beside.replace(link)
    _sync(link.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
