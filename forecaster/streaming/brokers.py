"""What brokers' streams have in common: how messages become micro-batches, and the words in which one is refused."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from forecaster.errors import ConfigError, DataError, StateError
from forecaster.streaming.intake import Intake
from forecaster.streaming.lines import POLL_SECONDS

Fetch = Callable[[int, float], list[Any]]  # at most so many messages, waiting so many seconds


def next_messages(fetch: Fetch, intake: Intake) -> list[Any]:
    """The messages that are there, and what comes within the latency; none where nothing comes soon."""
    found = fetch(1, POLL_SECONDS)
    deadline = time.monotonic() + intake.max_latency_ms / 1000
    while found and len(found) < intake.max_batch and not intake.should_stop():
        left = deadline - time.monotonic()
        more = fetch(intake.max_batch - len(found), min(max(left, 0.001), POLL_SECONDS))
        found += more
        if left <= 0 and not more:
            break
    return found


def shown_address(spec: str) -> str:
    """An address without a password.

    >>> shown_address("redis://me:secret@localhost:6379/feed")
    'redis://localhost:6379/feed'
    """
    parts = urlsplit(spec)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def missing_library(scheme: str) -> ConfigError:
    """The client of a broker is not installed."""
    return ConfigError(f"{scheme}:// needs a library that is not installed. pip install 'forecaster[{scheme}]'")


def address_of(spec: str, word: str) -> tuple[str, str]:
    """The servers of an address and what it names there, a `word` such as topic; raises ConfigError where it names none.

    >>> address_of("kafka://one:9092,two:9092/meters", "topic")
    ('one:9092,two:9092', 'meters')
    """
    parts = urlsplit(spec)
    name = parts.path.strip("/")
    if not parts.netloc or not name or "/" in name:
        raise no_stream(spec, word)
    return parts.netloc, name


def no_stream(spec: str, word: str) -> ConfigError:
    """An address that lacks what is to be read or written, a `word` such as topic."""
    form = f"{urlsplit(spec).scheme}://HOST:PORT/{word.upper()}"
    return ConfigError(f"{shown_address(spec)} names no {word}; expected {form}. Write it like that.")


def unreadable(spec: str, why: str) -> DataError:
    """A feed that cannot be read."""
    return DataError(f"{shown_address(spec)} cannot be read ({why}). See that the server is up, and begin again.")


def another_feed(taken: str, place: str) -> StateError:
    """A place in another feed than this one."""
    return StateError(
        f"the state has taken in another feed ({taken}) than {place}. Go on with that one, or give --new-feed, to read this one "
        "from its beginning."
    )


def shorter_feed(place: str, found: str) -> StateError:
    """A feed that does not reach to where the state left it."""
    return StateError(
        f"{place} {found}; expected the same stream. Bring it back, or give --new-feed, to read it from its beginning."
    )


def dropped_feed(place: str, found: str) -> StateError:
    """A feed of which something is gone that was not taken in."""
    return StateError(
        f"{place} {found}; expected all behind that. Let it keep more, or give --new-feed, to go on with what is left."
    )


def unwritable(spec: str, why: str) -> StateError:
    """A place that takes no forecasts."""
    return StateError(
        f"forecasts cannot be written to {shown_address(spec)} ({why}). See that the server is up and has room, and that the "
        "place is ours, and begin again: all that was committed is kept."
    )


def others_write(place: str, number: int) -> StateError:
    """A place that has something else where the N-th forecast of this state belongs."""
    return StateError(
        f"{place} holds something else than forecast {number:,} of this state; expected a place that nobody else writes to. Name "
        "another one for the forecasts."
    )


def told(error: BaseException) -> str:
    """What a client says, in one line.

    >>> told(OSError("no route to host.\\nand more"))
    'no route to host'
    """
    inner: Any = error.args[0] if error.args else None
    text = inner.str() if hasattr(inner, "str") else str(error)
    return (text.splitlines() or [type(error).__name__])[0].rstrip(".")
