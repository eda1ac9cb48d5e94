"""What was not stepped, in a file: written with its reason, and read again once it is mended."""

import base64
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from forecaster.errors import DataError, StateError
from forecaster.frequency import Frequency
from forecaster.streaming.arrivals import Arrivals, Fields, place, read_json, take_carefully
from forecaster.streaming.arrivals_csv import COLUMNS, CsvRows
from forecaster.streaming.dates import Dates, Unreadable, shown
from forecaster.streaming.intake import Intake
from forecaster.streaming.lateness import DeadLetter
from forecaster.streaming.lines import JsonLines, LineBatches


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


def read_dead_letters(path: Path, frequency: Frequency, intake: Intake) -> Iterator[Arrivals]:
    """The originals in a dead letters file, mended or not, as observations; lines count those of that file, as it is now.

    Where the feed stands does not change: what was replayed before is a duplicate. Originals that are not JSON are read as CSV in
    the columns unique_id, ds, y. Raises DataError when the file cannot be read.
    """
    try:
        data = path.read_bytes()  # as it is now: what becomes a dead letter again is appended
    except OSError as error:
        raise DataError(f"the dead letters {path} cannot be read ({error.strerror}). Name a file that is there.") from error
    rows = CsvRows(is_numbered=frequency.is_numbered)
    rows.begin(",".join(COLUMNS).encode())
    dates, first_line = Dates(frequency, floored=intake.floored), 1
    for batch in LineBatches(io.BytesIO(data), JsonLines(), intake):
        originals, faults = _originals(batch)
        fields = Fields([], [], [], [], [])

        def read(original: bytes, faults: dict[bytes, Unreadable] = faults) -> tuple[str, int | str, float] | Unreadable | None:
            if original in faults:
                return faults[original]
            return read_json(original) if original.lstrip().startswith(b"{") else rows.read_row(original)

        take_carefully(originals, fields, read, first=0, first_line=first_line)
        yield place(fields, originals, dates, first_line=first_line, feed=intake.committed)
        first_line += len(batch)


def _originals(lines: Sequence[bytes]) -> tuple[list[bytes], dict[bytes, Unreadable]]:
    """The original of each line, or the line itself where it is no dead letter, and why it is none."""
    originals: list[bytes] = []
    faults: dict[bytes, Unreadable] = {}
    for line in lines:
        found = read_letter(line) if line.strip() else b""
        if isinstance(found, Unreadable):
            faults[line] = found
        originals.append(line if isinstance(found, Unreadable) else found)
    return originals, faults
