"""A night's work on one panel: take in, check, predict, decide, train, judge, promote, warm, tell, tidy up.

Every step is taken once on the same input, and may be taken again: a night that was killed anywhere goes on and ends in the
same place, and one that is started twice does nothing the second time. Forecasts come before training, so that nobody waits for
it, and a step that fails costs no step that does not need it.
"""

import contextlib
import errno
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np

from forecaster.config import Config
from forecaster.errors import ConfigError, ForecasterError, StateError
from forecaster.ingest import PanelStore
from forecaster.jobs.champions import CHAMPIONS
from forecaster.jobs.evaluate import evaluate
from forecaster.jobs.home import Clock, Home, wall_clock
from forecaster.jobs.journal import Journal, Record, key_of, one_night
from forecaster.jobs.night_clock import night_of
from forecaster.jobs.night_forecasts import NETWORK, publish_forecasts, score_last
from forecaster.jobs.night_intake import Intake
from forecaster.jobs.night_live import let_follow
from forecaster.jobs.night_training import (
    choose_champions,
    decide,
    judge_challenger,
    lacks_champions,
    promote_challenger,
    train_challenger,
)
from forecaster.jobs.outlets import send_out
from forecaster.jobs.publish import drop_editions
from forecaster.jobs.registry import prune
from forecaster.jobs.report import report
from forecaster.jobs.runs import Run, settings_fingerprint
from forecaster.jobs.service import service_of
from forecaster.jobs.summary import ATTENTION, HAND_OVER, TELL, Summary, call_hooks, sum_up, write_summary
from forecaster.jobs.warm import warm_live
from forecaster.models.training import Progress
from forecaster.operations.guards import KINDS
from forecaster.series import Panel

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
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
        journal = Journal.open(home, panel, night_of(now, panel, home, clock_zone=config.operations.clock_zone))
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
        ingested = self._take("ingest", self._intake.key(), self._intake.take_in)
        if ingested is not None and ingested["verdict"] == "stop":
            return
        panel = self._stored()
        if panel is None:
            return
        operations = self.config.operations.model_dump(mode="json")
        served = self._served()
        key = key_of(panel.fingerprint, settings_fingerprint(self.config), operations, served)
        self._take("predict", key, lambda: self._predict(panel, key) | {"served": served})
        self._publish()
        held = "deliveries cannot be taken in" if ingested is None else HELD.get(ingested["verdict"], "")
        decided = self._take("decide", key_of(key, held), lambda: self._decide(panel, held))
        challenger = self._challenge(panel, key, decided["champion"]) if decided is not None and decided["train"] else None
        self._follow()
        if challenger is not None and self.config.operations.report:
            self._take("report", key_of(challenger), lambda: self._report(challenger))
        self._publish()
        self._take("prune", key, self._prune)

    def _served(self) -> str | None:
        """The run in service when the night was to forecast, which is not the one that the night itself put there.

        After a change by hand, such as a rollback, the night may be started again and publishes anew.
        """
        serving = self._serving()
        is_ours = serving is not None and serving == self.journal.result("train").get("run")
        return self.journal.result("predict").get("served") if is_ours else serving

    def _serving(self) -> str | None:
        """The run in service; None where there is none, or the pointers are damaged, which is told by whoever was to speak."""
        try:
            return service_of(self.panel, self.home).current
        except StateError:
            return None

    def _challenge(self, panel: Panel, key: str, champion: str | None) -> str | None:
        """Train, choose, judge and promote; the challenger, None where there is none."""
        trained = self._take("train", key, lambda: self._train(panel))
        if trained is None:
            return None
        challenger = str(trained["run"])
        self._choose(challenger)
        judged = self._take("evaluate", key_of(key, challenger, champion), lambda: self._judge(panel, challenger, champion))
        if judged is None or not judged["promote"]:
            return challenger
        why = "; ".join(judged["reasons"])
        pair = key_of(challenger, champion)
        self._take("promote", pair, lambda: promote_challenger(challenger, why=why, home=self.home, clock=lambda: self.now))
        return challenger

    def _follow(self) -> None:
        """Let champions and live states go with the run in service, whoever put it there."""
        operations, serving = self.config.operations, self._serving()
        if serving is None:
            return
        if lacks_champions(serving, self.home):
            self._choose(serving, "choose in service")
        for state in operations.live_of(self.panel):
            self._take(f"{HAND_OVER}{state}", key_of(state, serving), partial(self._let_follow, state, serving))
        if operations.warm and not operations.live and self.journal.result("promote"):
            self._take("warm", key_of(serving), lambda: warm_live(Run.open(serving, self.home), self.home, say=self.say))

    def _choose(self, run: str, step: str = "choose") -> None:
        """Champions of a run, where they are to speak."""
        if self.config.operations.forecaster != NETWORK:
            self._take(step, key_of(run), lambda: choose_champions(run, home=self.home, say=self.say, progress=self.progress))

    def _publish(self) -> None:
        """Send tonight's edition on: as soon as it is there, and once more at the end of the night where that failed."""
        operations, edition = self.config.operations, self.journal.result("predict").get("edition")
        if edition is not None and operations.publish.is_wanted:
            self._take("publish", key_of(edition, operations.publish.model_dump()), lambda: self._send_out(edition))

    # -- steps -------------------------------------------------------------------------------------------------------------

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
        now = self._intake.position_now(panel)
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

    def _let_follow(self, state: str, run: str) -> dict[str, Any]:
        place, opened = self.home.path / state, Run.open(run, self.home)
        name = CHAMPIONS if self.config.operations.forecaster == CHAMPIONS else None  # a combination does not step
        return let_follow(place, opened, self.home, forecaster=name, say=self.say, progress=self.progress) | {"state": state}

    def _send_out(self, edition: str) -> dict[str, Any]:
        publish = self.config.operations.publish
        return send_out(publish, panel=self.panel, night=self.journal.night, edition=edition, home=self.home)

    def _report(self, challenger: str) -> dict[str, Any]:
        """The challenger against the baselines, and its page."""
        run = Run.open(challenger, self.home)
        scored = evaluate(run, home=self.home, say=self.say, progress=self.progress)
        page = report(run, home=self.home, say=self.say, progress=self.progress)
        return {"winner": scored["winner"], "page": str(page.get("page", run.path / "report.html"))}

    def _prune(self) -> dict[str, Any]:
        operations = self.config.operations
        return {
            "runs": prune(self.home, keep=operations.keep_runs, panel=self.panel, live=operations.live_of(self.panel)),
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
        if isinstance(error, OSError) and error.errno in FULL:
            told += f". Free room under {self.home.path.resolve()} and type the night again"
        self.say(f"{name} failed: {told}")
        result = {"error": told, "kind": type(error).__name__, "traceback": "".join(traceback.format_exception(error))[-4_000:]}
        try:
            self.journal.record(name, Record(key, "failed", 0.0, result))
        except OSError as full:  # nothing can be written: the summary in memory says so all the same
            self.say(f"the journal cannot be written: {full.strerror}")

    @property
    def _intake(self) -> Intake:
        return Intake(self.panel, self.home, self.config.operations, self.journal, self.now, self.accept, self.say)

    def _stored(self) -> Panel | None:
        """The panel; where there is none, or it cannot be read, there is nothing to forecast, and that is told."""
        try:
            return self._intake.stored()
        except ForecasterError as error:
            self._fail("predict", error)
            return None


def _told(summary: Summary, journal: Journal, home: Home, say: Callable[[str], None]) -> Summary:
    """The summary, written; where it cannot be, it says so itself."""
    try:
        write_summary(summary, journal, home)
    except OSError as error:
        trouble = f"the summary cannot be written to {journal.folder} ({error.strerror})"
        say(trouble)
        return replace(summary, severity=max(summary.severity, ATTENTION), troubles=(*summary.troubles, trouble))
    return summary
