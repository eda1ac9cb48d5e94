"""What a night takes in: the inbox, held against what is stored, and what is missing of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forecaster.errors import DataError
from forecaster.jobs.deliveries import Inbox
from forecaster.jobs.home import Home
from forecaster.jobs.journal import Journal, key_of
from forecaster.jobs.night_clock import position_of
from forecaster.jobs.summary import last_night
from forecaster.jobs.whole import write_whole
from forecaster.operations.guards import Finding, check_arrivals, worst
from forecaster.operations.settings import OperationsConfig
from forecaster.series import Panel


@dataclass(frozen=True)
class Intake:
    """A panel's inbox on one night."""

    panel: str
    home: Home
    operations: OperationsConfig
    journal: Journal
    now: datetime
    accept: tuple[str, ...]
    say: Callable[[str], None]

    def key(self) -> str:
        """What lies in the inbox and is not taken in; a night that took something in is not asked again for nothing."""
        return key_of(self._inbox.listing(), self.accept, self.operations.guards.model_dump(mode="json"))

    def take_in(self) -> dict[str, Any]:
        """Take in what may, and tell what was found in it and what is missing."""
        before = self._ends_before()
        taken, found = self._inbox.take_in(
            night=self.journal.night, scratch=self.journal.folder / "scratch", now=self.position_now, say=self.say
        )
        after = self._inbox.stored()
        if after is not None:
            guards = self.operations.guards.accepting(self.accept)
            missing = check_arrivals(after, before, config=guards, due=self._due(after))
            for finding in missing:
                self.say(finding.told)
            found += missing + self._clock_findings()
        return {
            "verdict": worst(found),
            "files": [delivery.file for delivery in taken],
            "rows": sum(delivery.rows for delivery in taken),
            "left_out": sorted({name for delivery in taken for name in delivery.left_out}),
            "findings": [asdict(finding) for finding in found],
            "panel": after.fingerprint if after else None,
            "series": len(after) if after else 0,
            "positions": len(after.values) if after else 0,
        }

    def stored(self) -> Panel:
        """The panel as it is stored; raises DataError where there is none."""
        panel = self._inbox.stored()
        if panel is None:
            raise DataError(f"panel {self.panel!r} holds nothing, and nothing was delivered. Fill the inbox.")
        return panel

    def position_now(self, panel: Panel) -> int | None:
        """The position of the present on the panel's calendar; None where it counts steps that no clock knows."""
        return position_of(self.now, panel.frequency, clock_zone=self.operations.clock_zone)

    @property
    def _inbox(self) -> Inbox:
        return Inbox(self.panel, self.home, self.operations.deliveries, self.operations.guards, self.accept)

    def _ends_before(self) -> dict[str, int]:
        """The last position of each series when the night began, kept so that a restart knows it too."""
        path = self.journal.folder / "before.parquet"
        if not path.exists():
            stored = self._inbox.stored()
            ids, ends = (list(stored.ids), stored.ends) if stored else ([], np.zeros(0, dtype=np.int64))
            table = pa.table({"unique_id": pa.array(ids, pa.string()), "end": pa.array(ends, pa.int64())})
            write_whole(path, lambda beside: pq.write_table(table, beside))
        kept = pq.read_table(path).to_pydict()
        return dict(zip(kept["unique_id"], kept["end"], strict=True))

    def _due(self, panel: Panel) -> int | None:
        """The last position that is over."""
        now = self.position_now(panel)
        return None if now is None else now - 1

    def _clock_findings(self) -> list[Finding]:
        """A clock that went back: the last night that was done is a later one."""
        last = last_night(self.home, self.panel)
        if last is None or last <= self.journal.night:
            return []
        told = f"the clock says {self.journal.night}, and the night of {last} was done before. Look at the clock."
        self.say(told)
        return [Finding("clock", "warn", told)]
