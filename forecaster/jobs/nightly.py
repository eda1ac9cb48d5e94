"""A night's work on one panel: take in, check, predict, decide, train, judge, promote, warm, tell, tidy up.

Every step is taken once on the same input, and may be taken again: a night that was killed anywhere goes on and ends in the
same place, and one that is started twice does nothing the second time. Forecasts come before training, so that nobody waits for
it, and a step that fails costs no step that does not need it.
"""

import contextlib
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from forecaster.config import Config
from forecaster.errors import ConfigError, DataError, ForecasterError
from forecaster.frequency import Frequency
from forecaster.ingest import PanelStore
from forecaster.jobs.deliveries import Inbox
from forecaster.jobs.evaluate import evaluate
from forecaster.jobs.home import Clock, Home, wall_clock
from forecaster.jobs.journal import Journal, Record, key_of, one_night
from forecaster.jobs.night_forecasts import publish_forecasts, score_last
from forecaster.jobs.night_training import decide, judge_challenger, promote_challenger, train_challenger
from forecaster.jobs.publish import drop_editions
from forecaster.jobs.registry import prune
from forecaster.jobs.report import report
from forecaster.jobs.runs import Run, settings_fingerprint
from forecaster.jobs.summary import ATTENTION, TELL, Summary, call_hooks, last_night, sum_up, write_summary
from forecaster.jobs.warm import warm_live
from forecaster.jobs.whole import write_whole
from forecaster.models.training import Progress
from forecaster.operations.guards import KINDS, Finding, check_arrivals, worst
from forecaster.series import Panel

STEPS = ("ingest", "predict", "decide", "train", "evaluate", "promote", "warm", "report", "prune")
HELD = {"hold": "a delivery is held"}


def nightly(
    config: Config,
    panel: str,
    *,
    home: Home,
    clock: Clock = wall_clock,
    accept: tuple[str, ...] = (),
    say: Callable[[str], None],
    progress: Progress,
) -> Summary:
    """Do a panel's night, as far as it is not done yet, and say what came of it.

    `clock` tells the time, `accept` names findings that are only told tonight. Raises OverlapError when another process is at
    it, ConfigError for a name or a kind that is none.
    """
    PanelStore(home.panels).folder(panel)  # which says what a name may be
    for kind in accept:
        if kind not in KINDS:
            raise ConfigError(f"--accept {kind!r} is no kind of finding; choose {', '.join(KINDS)}.")
    with one_night(home, panel):
        now = clock()
        journal = Journal.open(home, panel, now.astimezone(_zone(config, home, panel)).strftime("%Y-%m-%d"))
        night = Night(config, panel, home, journal, now, accept, say, progress)
        night.work()
        summary = sum_up(journal, now=now)
        if journal.is_fresh:
            summary = _told(summary, journal, home, say)
            with contextlib.suppress(OSError):  # on a full disk who was told is told again
                said = key_of(summary.severity, summary.troubles, summary.training["promoted"] and summary.training["run"])
                journal.take(TELL, said, lambda: call_hooks(summary, config.operations.hooks, home, say=say))
        return summary


@dataclass
class Night:
    """One night's steps, in their order."""

    config: Config
    panel: str
    home: Home
    journal: Journal
    now: datetime
    accept: tuple[str, ...]
    say: Callable[[str], None]
    progress: Progress

    def work(self) -> None:
        """Take every step that is due; a failure is recorded, and ends what depends on it."""
        ingested = self._take("ingest", self._ingest_key(), self._ingest)
        if ingested is not None and ingested["verdict"] == "stop":
            return
        panel = self._stored()
        if panel is None:
            return
        key = key_of(panel.fingerprint, settings_fingerprint(self.config), self.config.operations.model_dump(mode="json"))
        self._take("predict", key, lambda: self._predict(panel, key))
        held = "deliveries cannot be taken in" if ingested is None else HELD.get(ingested["verdict"], "")
        decided = self._take("decide", key_of(key, held), lambda: self._decide(panel, held))
        if decided is not None and decided["train"]:
            challenger = self._challenge(panel, key, decided["champion"])
            if challenger is not None and self.config.operations.report:
                self._take("report", key_of(challenger), lambda: self._report(challenger))
        self._take("prune", key, self._prune)

    def _challenge(self, panel: Panel, key: str, champion: str | None) -> str | None:
        """Train, judge, promote and warm; the challenger, None where there is none."""
        trained = self._take("train", key, lambda: self._train(panel))
        if trained is None:
            return None
        challenger = str(trained["run"])
        judged = self._take("evaluate", key_of(key, challenger, champion), lambda: self._judge(panel, challenger, champion))
        if judged is None or not judged["promote"]:
            return challenger
        why = "; ".join(judged["reasons"])
        pair = key_of(challenger, champion)
        promoted = self._take(
            "promote", pair, lambda: promote_challenger(challenger, why=why, home=self.home, clock=lambda: self.now)
        )
        if promoted is not None and self.config.operations.warm:
            self._take("warm", pair, lambda: warm_live(Run.open(challenger, self.home), self.home, say=self.say))
        return challenger

    # -- steps -------------------------------------------------------------------------------------------------------------

    def _ingest_key(self) -> str:
        """What lies in the inbox and is not taken in; a night that took something in is not asked again for nothing."""
        return key_of(self._inbox.listing(), self.accept, self.config.operations.guards.model_dump(mode="json"))

    def _ingest(self) -> dict[str, Any]:
        before = self._ends_before()
        taken, found = self._inbox.take_in(
            night=self.journal.night, scratch=self.journal.folder / "scratch", now=self._position_now, say=self.say
        )
        after = self._inbox.stored()
        if after is not None:
            guards = self.config.operations.guards.accepting(self.accept)
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

    def _predict(self, panel: Panel, key: str) -> dict[str, Any]:
        scored = score_last(panel, self.panel, self.home)
        published = publish_forecasts(
            panel,
            name=self.panel,
            night=self.journal.night,
            edition=key,
            home=self.home,
            config=self.config,
            now=self.now,
            say=self.say,
        )
        now = self._position_now(panel)
        if now is not None and (last := published["known_position"] + published["horizon"]) < now:
            label = panel.frequency.labels(np.array([last])).iloc[0]
            published["troubles"].append(f"the forecasts end at {label}, which is past: the data is late, or the horizon short")
        return published | {"last_night": scored}

    def _decide(self, panel: Panel, held: str) -> dict[str, Any]:
        return decide(panel, name=self.panel, home=self.home, config=self.config, held=held)

    def _train(self, panel: Panel) -> dict[str, Any]:
        return train_challenger(
            panel,
            name=self.panel,
            night=self.journal.night,
            home=self.home,
            config=self.config,
            clock=lambda: self.now,
            say=self.say,
            progress=self.progress,
        )

    def _judge(self, panel: Panel, challenger: str, champion: str | None) -> dict[str, Any]:
        return judge_challenger(panel, challenger=challenger, champion=champion, home=self.home, config=self.config)

    def _report(self, challenger: str) -> dict[str, Any]:
        """The challenger against the baselines, and its page."""
        run = Run.open(challenger, self.home)
        scored = evaluate(run, home=self.home, say=self.say, progress=self.progress)
        page = report(run, home=self.home, say=self.say, progress=self.progress)
        return {"winner": scored["winner"], "page": str(page.get("page", run.path / "report.html"))}

    def _prune(self) -> dict[str, Any]:
        operations = self.config.operations
        return {
            "runs": prune(self.home, keep=operations.keep_runs, panel=self.panel),
            "editions": drop_editions(self.home, self.panel, keep=operations.keep_nights),
        }

    # -- what steps share ----------------------------------------------------------------------------------------------------

    def _take(self, name: str, key: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """What came of a step; None where it failed."""
        try:
            return self.journal.take(name, key, work).result
        except Exception as error:  # noqa: BLE001 -- a step that fails must not cost the night its other steps
            self._fail(name, error, key)
            return None

    def _fail(self, name: str, error: Exception, key: str = "") -> None:
        told = (str(error).splitlines() or [""])[0] or type(error).__name__
        self.say(f"{name} failed: {told}")
        result = {"error": told, "kind": type(error).__name__, "traceback": "".join(traceback.format_exception(error))[-4_000:]}
        try:
            self.journal.record(name, Record(key, "failed", 0.0, result))
        except OSError as full:  # nothing can be written: the summary in memory says so all the same
            self.say(f"the journal cannot be written: {full.strerror}")

    @property
    def _inbox(self) -> Inbox:
        operations = self.config.operations
        return Inbox(self.panel, self.home, operations.deliveries, operations.guards, self.accept)

    def _stored(self) -> Panel | None:
        """The panel; where there is none, or it cannot be read, there is nothing to forecast, and that is told."""
        try:
            if (panel := self._inbox.stored()) is not None:
                return panel
            raise DataError(f"panel {self.panel!r} holds nothing, and nothing was delivered. Fill the inbox.")
        except ForecasterError as error:
            self._fail("predict", error)
            return None

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

    def _position_now(self, panel: Panel) -> int | None:
        """The position of the present on the panel's calendar; None where it counts steps that no clock knows."""
        return position_of(self.now, panel.frequency, clock_zone=self.config.operations.clock_zone)

    def _due(self, panel: Panel) -> int | None:
        """The last position that is over."""
        now = self._position_now(panel)
        return None if now is None else now - 1

    def _clock_findings(self) -> list[Finding]:
        """A clock that went back: the last night that was done is a later one."""
        last = last_night(self.home, self.panel)
        if last is None or last <= self.journal.night:
            return []
        told = f"the clock says {self.journal.night}, and the night of {last} was done before. Look at the clock."
        self.say(told)
        return [Finding("clock", "warn", told)]


def _told(summary: Summary, journal: Journal, home: Home, say: Callable[[str], None]) -> Summary:
    """The summary, written; where it cannot be, it says so itself."""
    try:
        write_summary(summary, journal, home)
    except OSError as error:
        trouble = f"the summary cannot be written to {journal.folder} ({error.strerror})"
        say(trouble)
        return replace(summary, severity=max(summary.severity, ATTENTION), troubles=(*summary.troubles, trouble))
    return summary


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


def _zone(config: Config, home: Home, panel: str) -> ZoneInfo:
    """The time zone that a night is named in: the panel's, else the clock's."""
    stored, zone = PanelStore(home.panels), None
    with contextlib.suppress(ForecasterError):  # the night itself tells what is wrong with the panel
        zone = stored.manifest(panel).frequency.get("time_zone") if panel in stored.names() else None
    try:
        return ZoneInfo(zone or config.operations.clock_zone)
    except (KeyError, ValueError, OSError):
        raise ConfigError(
            f"operations.clock_zone is {config.operations.clock_zone!r}; expected a time zone such as Europe/Berlin or UTC."
        ) from None
