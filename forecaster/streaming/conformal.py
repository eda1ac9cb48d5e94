"""Online calibration: a stepper round a stepper, whose intervals hold what they promise.

The state of a series is that of the inner stepper, then the numbers of its calibration (`tracking.py`). It is a pure function of
state, value and position, so that calibration replays, rewinds and restarts as any state does. What series share is a prior,
learned once from a panel's history and fixed from then on. Axes: B series, S inner state, R rows, L leads, Q quantiles, G blocks
of leads, K tracked quantiles.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from forecaster.forecast import Chooser, State, Stepper, warm_state
from forecaster.frequency import Positions
from forecaster.series import Panel, Values
from forecaster.streaming.correction import Levels, Prior
from forecaster.streaming.pending import Indices, Schedule
from forecaster.streaming.tracking import CalibrationConfig, Coverage, Tracker

__all__ = ["Calibrated", "CalibrationConfig", "Coverage", "Prior"]

Build = Callable[[Panel], State]

RULES = 1  # raise it when a step or the layout changes: state stepped by other rules must be refused
HORIZONS_TO_LEARN_FROM = 10
SERIES_TO_LEARN_FROM = 500


@dataclass(frozen=True)
class Calibrated:
    """A `Stepper` that corrects the quantiles of another one, online, for each series and lead.

    A series begins with the `prior`: that of its panel where the calibration was `fitted`, and no correction elsewhere. Raises
    ConfigError, when made, for quantiles that cannot be calibrated, StateError for a prior of other leads or quantiles.
    """

    stepper: Stepper
    config: CalibrationConfig = field(default_factory=CalibrationConfig)
    prior: Prior | None = None

    def __post_init__(self) -> None:
        levels, blocks = Levels.of(self.stepper.quantiles), self.tracker.schedule.blocks
        if self.prior is not None:
            self.prior.check(levels, len(blocks))

    @classmethod
    def fitted(
        cls, stepper: Stepper, panel: Panel, *, build: Build | None = None, config: CalibrationConfig | None = None
    ) -> "Calibrated":
        """The calibration that begins every series with what the last positions of a panel ask for, pooled over its series.

        `build` gives the inner states [B, S] after every value of a panel, as `warm_state` does, perhaps faster. At most
        `SERIES_TO_LEARN_FROM` series are looked at. The prior is a part of the fingerprint: keep it with the state.
        """
        plain = cls(stepper, config or CalibrationConfig())
        some = np.sort(np.random.default_rng(0).permutation(len(panel))[:SERIES_TO_LEARN_FROM])
        return replace(plain, prior=plain._prior_from(panel.select(some.tolist()), build))

    @cached_property
    def tracker(self) -> Tracker:
        levels = Levels.of(self.stepper.quantiles)
        schedule = Schedule.of(self.stepper.horizon, self.config.spacing)
        return Tracker(levels, schedule, self.config, self.prior or Prior.plain(levels, len(schedule.blocks)))

    # -- the door for streams ------------------------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """That of the inner stepper, then eight digits that change with the rules, the settings and the prior."""
        settings = (RULES, self.horizon, self.quantiles, sorted(self.config.model_dump().items()), self.tracker.prior)
        return f"{self.stepper.fingerprint}-c{hashlib.sha256(repr(settings).encode()).hexdigest()[:8]}"

    @property
    def state_size(self) -> int:
        return self.stepper.state_size + self.tracker.width

    @property
    def horizon(self) -> int:
        return self.stepper.horizon

    @property
    def quantiles(self) -> tuple[float, ...]:
        return self.stepper.quantiles

    def initial_state(self, count: int) -> State:
        """The state [B, S + …] of series of which nothing is known."""
        return np.concatenate([self.stepper.initial_state(count), self.tracker.first_numbers(count)], axis=1)

    def step(self, state: State, y: Values, position: Positions) -> State:
        """Score what matures with y [B] (NaN scores nothing) and learn, step, then keep a forecast where one is due.

        Series are stepped through every position, as by any stepper: what waits is found by the position at which it matures.
        """
        after = state.copy()
        inner, numbers = self._parts(after)
        self.tracker.score(numbers, y, position)
        after[:, : self.stepper.state_size] = inner = self.stepper.step(inner, y, position)
        self._keep(inner, numbers, position)
        return after

    def forecast(self, state: State, position: Positions) -> Values:
        """Quantiles [B, L, Q] of the inner stepper, corrected."""
        inner, numbers = self._parts(state)
        leads = np.arange(1, self.horizon + 1)[None, :]
        return self.tracker.correct(self.stepper.forecast(inner, position), numbers, leads)

    # -- beginning with what is known ----------------------------------------------------------------------------------------

    def begin(self, inner: State, position: Positions) -> State:
        """The state of series whose inner state [B, S] after `position` is known, and none of whose forecasts."""
        state = np.concatenate([inner, self.tracker.first_numbers(len(inner))], axis=1)
        self._keep(inner, state[:, self.stepper.state_size :], position)
        return state

    def warm(self, panel: Panel, build: Build | None = None) -> State:
        """The state of the panel's series after every value, calibrated on the last `warm_positions` of each.

        The inner states before these come from `build`, which is as quick as the inner stepper can be; from there on it is `step`
        that goes on. So the state is that of plain stepping from there to the bit, and where all positions are covered, that of
        `warm_state`. At least the first value of a series goes to `build`, which may know the series by its id.
        """
        counts = self._counts(panel)
        head = panel.drop_last(counts)
        state = self.begin(self._built(head, build), head.ends)
        for rows, position, y in _last_positions(panel, counts):
            state[rows] = self.step(state[rows], y, position)
        return state

    # -- what can be read from a state ---------------------------------------------------------------------------------------

    def coverage_of(self, state: State) -> Coverage:
        """What the intervals of each series have covered of late, as they were issued."""
        return self.tracker.coverage_of(state[:, self.stepper.state_size :])

    def chooser(self, state: State) -> tuple[Chooser, State] | None:
        """Who chooses among voices inside, and its part of the state; None where there is but one."""
        return (self.stepper, self._parts(state)[0]) if isinstance(self.stepper, Chooser) else None

    # -- inside --------------------------------------------------------------------------------------------------------------

    def _parts(self, state: State) -> tuple[State, State]:
        """The inner state, contiguous as the inner stepper is used to it, and a view of the numbers of the calibration."""
        return np.ascontiguousarray(state[:, : self.stepper.state_size]), state[:, self.stepper.state_size :]

    def _keep(self, inner: State, numbers: State, position: Positions) -> None:
        """Keep the forecasts that are due after these positions, in place."""
        due = np.flatnonzero(self.tracker.is_due(position))
        if len(due):
            self.tracker.keep(numbers, due, self.stepper.forecast(inner[due], position[due]), position[due])

    def _counts(self, panel: Panel) -> Indices:
        """How many of its last positions each series is stepped through."""
        return np.minimum(self.config.warm_positions or HORIZONS_TO_LEARN_FROM * self.horizon, panel.lengths - 1)

    def _built(self, panel: Panel, build: Build | None) -> State:
        return warm_state(self.stepper, panel) if build is None else build(panel)

    def _prior_from(self, panel: Panel, build: Build | None) -> Prior:
        """The prior that the forecasts over the last positions of the panel ask for, those that a stream would keep."""
        counts = self._counts(panel)
        inner = self._built(panel.drop_last(counts), build)
        found: list[tuple[Values, Values]] = []
        for rows, position, y in _last_positions(panel, counts):
            inner[rows] = self.stepper.step(inner[rows], y, position)
            due = self.tracker.is_due(position)
            if due.any():
                found.append(self._kept_and_true(panel, inner[rows[due]], rows[due], position[due]))
        if not found:
            return self.tracker.prior
        forecasts, truths = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Prior.from_scores(list(forecasts.swapaxes(0, 1)), list(truths.T), self.tracker.levels)

    def _kept_and_true(self, panel: Panel, inner: State, rows: Indices, position: Positions) -> tuple[Values, Values]:
        """Tracked quantiles [R, G, K] of the leads that are kept, and what came of them [R, G], NaN after the panel's end."""
        leads = self.tracker.leads_to_keep(position)
        tracked = self.tracker.tracked_of(self.stepper.forecast(inner, position), leads)
        at = (position - panel.starts[rows])[:, None] + leads
        is_known = at < panel.lengths[rows, None]
        truths = panel.values[np.where(is_known, panel.offsets[rows, None] + at, 0)]
        return tracked, np.where(is_known, truths, np.nan)


def _last_positions(panel: Panel, counts: Indices) -> Iterator[tuple[Indices, Positions, Values]]:
    """The last positions of each series, one after the other: series [R], their positions and values."""
    for turn in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(counts > turn)
        at = panel.lengths[rows] - counts[rows] + turn
        yield rows, panel.starts[rows] + at, panel.values[panel.offsets[rows] + at]
