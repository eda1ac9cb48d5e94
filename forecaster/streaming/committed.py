"""A feed that is given again from its beginning: whether it is the one of which the state took in a part."""

from dataclasses import replace

from forecaster.errors import StateError
from forecaster.streaming.live import FeedPosition


def begin_at(committed: FeedPosition, *, is_whole: bool) -> FeedPosition:
    """Where a feed without places of its own begins: with line 0 if it is whole; the place in another feed is kept."""
    return replace(committed, lines=0, checksum=0) if is_whole else committed


def move_on(seen: FeedPosition, data: bytes, *, lines: int) -> FeedPosition:
    """The position after more lines of a feed that has no places of its own."""
    return replace(seen.after(data, lines=lines), offset=seen.offset)


def check_passed(seen: FeedPosition, committed: FeedPosition) -> None:
    """Raise StateError when what was passed over is not what was taken in."""
    if seen.lines == committed.lines and seen.checksum != committed.checksum:
        raise StateError(
            f"the first {committed.lines:,} lines of this feed are not those that the state took in; expected the same feed "
            "from its beginning. Send only what is new, and do not declare the feed whole."
        )


def check_end(seen: FeedPosition, committed: FeedPosition) -> None:
    """Raise StateError when a whole feed ends before what was taken in."""
    if seen.lines < committed.lines:
        raise StateError(
            f"this feed ends at line {seen.lines:,}, and the state took in {committed.lines:,}; expected the same feed from its "
            "beginning. Send only what is new, and do not declare the feed whole."
        )
