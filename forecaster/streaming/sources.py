"""Where observations come from: lines on a stream or in files that are followed, or a stored panel again.

A source yields micro-batches and says with each how far the feed was taken in. A feed that is *whole* is given from its
beginning each time: what was committed is then passed over, after a checksum has shown that it is the same feed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from forecaster.frequency import Frequency
from forecaster.streaming.arrivals import Arrivals, nothing, place
from forecaster.streaming.committed import begin_at, check_end, check_passed, move_on
from forecaster.streaming.dates import Dates
from forecaster.streaming.follow import feed_files
from forecaster.streaming.intake import Intake
from forecaster.streaming.lateness import Arrival, DeadLetter
from forecaster.streaming.lines import ByteFeed, LineBatches, LineFormat, joined, size_of
from forecaster.streaming.live import FeedPosition

# -- a stream ----------------------------------------------------------------------------------------------------------------


def read_lines(
    stream: BinaryIO | ByteFeed,
    frequency: Frequency,
    form: LineFormat,
    intake: Intake,
    *,
    is_whole: bool = False,
) -> Iterator[Arrivals]:
    """Micro-batches of the lines of a stream.

    A whole feed is passed over up to what was committed; StateError is raised when those lines are not the ones that were taken
    in. A last line without a newline is read; one that is cut off in the middle becomes a dead letter and does not count as taken
    in, so that the feed can be sent again with the line complete.
    """
    committed, lines = intake.committed, LineBatches(stream, form, intake)
    seen, first_line, dates = begin_at(committed, is_whole=is_whole), 1, Dates(frequency, floored=intake.floored)
    for batch in lines:
        passed = min(max(committed.lines - seen.lines, 0), len(batch))
        if passed:
            seen = move_on(seen, joined(batch[:passed]), lines=passed)
            check_passed(seen, committed)
        rest = batch[passed:]
        if rest:
            seen = move_on(seen, joined(rest), lines=len(rest))
            first = first_line + passed
            yield place(form.read(rest, first_line=first), rest, dates, first_line=first, feed=seen)
        first_line += len(batch)
    if not intake.should_stop():
        check_end(seen, committed)
    if seen.lines >= committed.lines:
        yield from _end_of(lines, first_line, seen)


# -- files -------------------------------------------------------------------------------------------------------------------


def read_files(
    path: Path,
    frequency: Frequency,
    form: LineFormat,
    intake: Intake,
    *,
    follow: bool = False,
) -> Iterator[Arrivals]:
    """Micro-batches of a file from where it was left, like those of a stream; with `follow`, of what is appended, and of the
    files that take its place.

    A batch is full unless the file ends, so that it is cut alike each time. Lines are counted from the first one that the
    state took in of any file. Raises StateError when the file is another one than the state knows.
    """
    seen, dates = intake.committed, Dates(frequency, floored=intake.floored)
    for file in feed_files(path, committed=intake.committed, follow=follow, should_stop=intake.should_stop):
        lines = LineBatches(file, form, intake)
        offset = file.start
        if offset:
            form.begin(file.first_line())
        for batch in lines:
            first_line = seen.lines + 1
            offset += size_of(batch)
            seen = file.position(seen.after(joined(batch), lines=len(batch)), offset)
            yield place(form.read(batch, first_line=first_line), batch, dates, first_line=first_line, feed=seen)
        if lines.has_ended:
            yield from _end_of(lines, seen.lines + 1, seen)


def _end_of(lines: LineBatches, line: int, seen: FeedPosition) -> Iterator[Arrivals]:
    """A dead letter for a line that was cut off, if there is one."""
    if lines.cut_off.strip():
        letter = DeadLetter(line, Arrival.MALFORMED, "the feed ends within this line. Send it again.", lines.cut_off)
        yield nothing((letter,), seen)
