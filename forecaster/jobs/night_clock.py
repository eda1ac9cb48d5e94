"""What time it is on a panel's calendar, and what a night is called."""

import contextlib
from datetime import datetime
from zoneinfo import ZoneInfo

import pandas as pd

from forecaster.errors import ConfigError, ForecasterError
from forecaster.frequency import Frequency
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home


def position_of(now: datetime, frequency: Frequency, *, clock_zone: str = "UTC") -> int | None:
    """The position of a moment on a calendar; None for numbered steps. A calendar without a zone is read in `clock_zone`.

    >>> from datetime import UTC
    >>> int(position_of(datetime(1970, 1, 2, 5, 30, tzinfo=UTC), Frequency("h")))
    29
    """
    if frequency.is_numbered:
        return None
    moment = pd.Timestamp(now)
    moment = moment.tz_convert(clock_zone if frequency.time_zone is None else "UTC")
    return int(frequency.positions(pd.DatetimeIndex([moment.tz_localize(None)]))[0])


def night_of(now: datetime, panel: str, home: Home, *, clock_zone: str = "UTC") -> str:
    """The date that a moment's night is called by, in the panel's time zone, else the clock's.

    Raises ConfigError for a zone that is none.
    """
    stored, zone = PanelStore(home.panels), None
    with contextlib.suppress(ForecasterError):  # the night itself tells what is wrong with the panel
        zone = stored.manifest(panel).frequency.get("time_zone") if panel in stored.names() else None
    try:
        return now.astimezone(ZoneInfo(zone or clock_zone)).strftime("%Y-%m-%d")
    except (KeyError, ValueError, OSError):
        raise ConfigError(
            f"operations.clock_zone is {clock_zone!r}; expected a time zone such as Europe/Berlin or UTC."
        ) from None
