"""What was not stepped, in a file: written with its reason, and read again once it is mended."""

import base64
import os
from collections.abc import Sequence
from pathlib import Path

import orjson

from forecaster.errors import StateError
from forecaster.streaming.dates import Unreadable, shown
from forecaster.streaming.lateness import DeadLetter


class DeadLetters:
    """What was not stepped, in a file: line, arrival, reason, and the original as text, or in base64 where it is none.

    The file is on the disk before the micro-batch is committed, and cut back to its committed length when a stream begins,
    so that each dead letter stands in it once, whatever was killed. A file moved away is begun anew.
    """

    def __init__(self, path: Path, *, committed_bytes: int) -> None:
        self.path = path
        try:
            self.length = min(path.stat().st_size, committed_bytes) if path.exists() else 0
            if self.length:
                os.truncate(path, self.length)
        except OSError as error:
            raise self._refused(error) from error

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Append letters; raises StateError when the disk refuses."""
        if not letters:
            return
        data = b"".join(_letter_line(letter) for letter in letters)
        try:
            with self.path.open("ab" if self.length else "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._refused(error) from error
        self.length += len(data)

    def _refused(self, error: OSError) -> StateError:
        return StateError(
            f"dead letters cannot be written to {self.path} ({error.strerror}); expected room and permission to write. "
            "Mend that and start again: all that was committed is kept."
        )


def _letter_line(letter: DeadLetter) -> bytes:
    fields: dict[str, int | str] = {"line": letter.line, "arrival": letter.arrival.label, "reason": letter.reason}
    try:
        fields["original"] = letter.original.decode()
    except UnicodeDecodeError:
        fields["original_base64"] = base64.b64encode(letter.original).decode()
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def read_letter(line: bytes) -> bytes | Unreadable:
    """The original in a line of a dead letters file, mended or not.

    >>> read_letter(b'{"line": 7, "arrival": "malformed", "reason": "", "original": "{}"}')
    b'{}'
    """
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        fault = str(error).split(": line ")[0]
        return Unreadable(f"the line is not JSON ({fault}); expected a dead letter with its original. Mend the line.")
    if isinstance(fields, dict):
        if isinstance(fields.get("original"), str):
            return str(fields["original"]).encode()
        try:
            return base64.b64decode(fields["original_base64"], validate=True)
        except (KeyError, TypeError, ValueError):
            pass
    return Unreadable(f"the line is {shown(fields)}; expected a dead letter with its original. Mend the line.")
