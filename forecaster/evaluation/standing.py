"""Whether a champion still deserves to speak: judged live, by what came of its forecasts, in a few numbers a series.

Of each of three voices, the champion, its runner-up and the stand-in, a forecast waits at one or two leads until its value has
come; nothing is judged before. Three things are watched that may cost a champion its standing, and a fourth says who may speak
for it: a loss is known to be lower only where it was, so to be wrong is not enough to be replaced.

Coverage. `miss` is whether a value lay outside the interval that should hold 80 of 100. Under the null a miss has at most the
tolerated probability p0 (30 in 100), whatever came before. Then M <- (1 + M) (q1 / p0 if it missed, else (1 - q1) / (1 - p0))
has a mean of at most n after n judged forecasts, and P(M >= c within n) <= n / c: a Shiryaev-Roberts e-detector. Forecasts of one
lead do not overlap, so what is judged of one is known before the next is made. Falling back takes M >= 10,000: for a voice whose
coverage is just tolerable no more than one false alarm in 10,000 judged forecasts of a lead, and about one in 10^9 where coverage
is nominal. Coming back takes evidence to the contrary, M >= 100 for likelihood ratios of the nominal share of misses over p0.
Intervals that hold too much are no reason: a quiet series is not served better by somebody else.

Rivalry. d = (champion's loss - runner-up's) / (sum of both), quantile losses at the farther lead, has a mean of at most 0 while
the champion is no worse; M <- (1 + M)(1 + d / 2) is an e-detector again. What a choice rested on grows old: this is how newer
evidence overrules it.

Age. A choice rests on evidence from the last `lifetime` positions, four horizons, or it is stale: each position makes the
evidence a position older, and each judged forecast an eighth of a lifetime younger. So a series that goes on is never stale, and
one that was silent for a lifetime is, until it has been judged again.

Losses. Of each other voice a sum is kept of (its loss - the champion's) in the same values, quantile losses again, each newer one
counting 1 and all older ones 0.9 of before: an average over about ten. Only who covers, and whose sum is not above 0 at any
judged lead, speaks for a champion that has lost its standing.

Source: Shin, Ramdas, Rinaldo 2023, doi:10.51387/23-NEJSDS51 (e-detectors); Waudby-Smith, Ramdas 2024, doi:10.1093/jrsssb/qkad009
(betting on bounded means). Axes: B series, R rows, L leads, Q quantiles, K judged leads.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from forecaster.frequency import Positions
from forecaster.series import Values

Numbers = NDArray[np.float32]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]

RULES = 2  # raise it when what is judged, or how, changes: state stepped by other rules must be refused
VOICES = 3  # the champion, its runner-up and the stand-in
AGE, IS_STALE, RIVALRY, IS_BEATEN, SHARED = 0, 1, 2, 3, 4  # numbers of a series; age is below 0 up to the end of the evidence
LOW, MIDDLE, HIGH, DOUBT, IS_OFF, BEHIND, OWN = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
)  # numbers of each voice and judged lead; the last is a loss beyond the champion's
ALARM, TRUST = np.float32(10_000), np.float32(100)  # what M must come to, to fall back and to come back
NOMINAL, TOLERANCE, BEYOND = 0.8, 1.5, 0.2  # coverage that is judged, misses tolerated for each nominal one, and then watched for
HORIZONS, RENEWALS = 4, 8  # of a lifetime; judged forecasts that renew it
OFTEN = 20  # horizons shorter than this are judged at every position
KEPT = np.float32(0.9)  # of an older difference of losses at each newer one
ONE, HALF = np.float32(1), np.float32(0.5)


@dataclass(frozen=True)
class Judge:
    """Judges forecasts of so many leads with these quantiles, as functions of the numbers [B, width] that series carry for it."""

    horizon: int
    quantiles: tuple[float, ...]

    @cached_property
    def spacing(self) -> int:
        """Positions between forecasts that are judged at lead 1: a tenth of the horizon, and every hour and weekday in turn.

        >>> [Judge(horizon, (0.1, 0.5, 0.9)).spacing for horizon in (1, 18, 24, 48, 168)]
        [1, 1, 5, 5, 17]
        """
        least = -(-self.horizon // 10)
        return 1 if self.horizon < OFTEN else next(p for p in range(least, least + 8) if p % 2 and p % 3 and p % 7)

    @cached_property
    def leads(self) -> tuple[int, ...]:
        """The leads that are judged: the next value, and about the middle of the horizon, where there is one.

        >>> [Judge(horizon, (0.1, 0.5, 0.9)).leads for horizon in (1, 3, 8, 24, 48)]
        [(1,), (1, 2), (1, 4), (1, 10), (1, 25)]
        """
        middle = self.spacing * max(round((self.horizon + 0.5) / 2 / self.spacing), 1)
        return (1, middle) if 1 < middle <= self.horizon else (1,)

    @property
    def periods(self) -> tuple[int, ...]:
        """Positions between judged forecasts of each lead: never less than the lead, so that no two overlap."""
        return (self.spacing, *self.leads[1:])

    @property
    def lifetime(self) -> int:
        """Positions for which evidence counts."""
        return max(HORIZONS * self.horizon, 2 * RENEWALS)

    @property
    def width(self) -> int:
        """How many numbers a series carries."""
        return SHARED + VOICES * len(self.leads) * OWN

    def first_numbers(self, ages: Values | Positions) -> Numbers:
        """The numbers [B, width] of series that nothing was judged of, so many positions after the end of the evidence [B]."""
        numbers = np.zeros((len(ages), self.width), dtype=np.float32)
        numbers[:, AGE] = ages
        for voice in range(VOICES):
            for place in range(len(self.leads)):
                self._of(numbers, voice, place)[:, [LOW, MIDDLE, HIGH, BEHIND]] = np.nan
        return numbers

    # -- judging -------------------------------------------------------------------------------------------------------------

    def score(self, numbers: Numbers, y: Values, position: Positions) -> None:
        """Judge, in place, what was forecast of these positions; y [B] is NaN where nothing was observed, and nothing judged."""
        numbers[:, AGE] = np.minimum(numbers[:, AGE] + ONE, np.float32(2 * self.lifetime))
        with np.errstate(over="ignore"):  # a value that is no float32 is not judged
            value = np.asarray(y, dtype=np.float32)
        for place, (lead, period) in enumerate(zip(self.leads, self.periods, strict=True)):
            rows = np.flatnonzero((position - lead) % period == 0)
            came = rows[np.isfinite(value[rows])]
            losses = [self._judge(numbers, came, value[came], voice=voice, place=place) for voice in range(VOICES)]
            judged = came[np.isfinite(losses).any(axis=0)]
            numbers[judged, AGE] = np.maximum(numbers[judged, AGE] - np.float32(self.lifetime / RENEWALS), np.float32(0))
            for voice in range(1, VOICES):
                self._weigh(numbers, came, losses[voice] - losses[0], voice=voice, place=place)
            if place == len(self.leads) - 1:
                self._compare(numbers, came, losses[0], losses[1])
            for voice in range(VOICES):
                self._of(numbers, voice, place)[rows, LOW : HIGH + 1] = np.nan
        age, stale = numbers[:, AGE], numbers[:, IS_STALE] > 0
        numbers[:, IS_STALE] = np.where(stale, age > HALF * np.float32(self.lifetime), age > np.float32(self.lifetime))

    def is_due(self, numbers: Numbers, position: Positions) -> Flags:
        """Which series [B] are to keep a forecast made after these positions: none before the end of the evidence."""
        return np.asarray((position % self.spacing == 0) & (numbers[:, AGE] >= 0))

    def keep(self, numbers: Numbers, rows: Rows, values: Values, position: Positions, *, voice: int) -> None:
        """Keep of a voice's forecasts [R, L, Q] of some rows, all of them due, what waits for its value, in place."""
        low, high = self._interval if self._interval else (self._median, self._median)
        for place, (lead, period) in enumerate(zip(self.leads, self.periods, strict=True)):
            now = np.flatnonzero(position % period == 0)
            with np.errstate(over="ignore"):
                kept = values[now, lead - 1][:, [low, self._median, high]].astype(np.float32)
            kept[~np.isfinite(kept).all(axis=1)] = np.nan
            self._of(numbers, voice, place)[rows[now], LOW : HIGH + 1] = kept

    def _judge(self, numbers: Numbers, rows: Rows, value: Numbers, *, voice: int, place: int) -> Numbers:
        """Score a voice's forecasts of these values [R]; its losses, NaN where none waited."""
        own = self._of(numbers, voice, place)
        low, middle, high = (own[rows, column] for column in (LOW, MIDDLE, HIGH))
        waited = np.isfinite(middle)
        with np.errstate(over="ignore"):
            loss = np.abs(value - middle)
            if self._interval is None:
                return np.where(waited, loss, np.nan)
            missed = (value < low) | (value > high)
            beyond = np.maximum(low - value, np.float32(0)) + np.maximum(value - high, np.float32(0))
            loss += np.float32(self._nominal) * (high - low) + np.float32(2) * beyond  # all three quantile losses, doubled
        judged, missed = rows[waited], missed[waited]
        is_off = own[judged, IS_OFF] > 0
        falling, returning = self._ratios
        ratio = np.where(is_off, np.where(missed, *returning), np.where(missed, *falling))
        own[judged, DOUBT], own[judged, IS_OFF] = _watched(own[judged, DOUBT], ratio, is_off)
        return np.asarray(np.where(waited, loss, np.nan), dtype=np.float32)

    def _compare(self, numbers: Numbers, rows: Rows, champion: Numbers, runner_up: Numbers) -> None:
        """Take the losses [R] of both voices in the same values into their rivalry."""
        both = np.flatnonzero(np.isfinite(champion + runner_up))
        rows, total = rows[both], champion[both] + runner_up[both]
        difference = np.divide(champion[both] - runner_up[both], total, out=np.zeros_like(total), where=total > 0)
        is_beaten = numbers[rows, IS_BEATEN] > 0
        ratio = ONE + HALF * np.where(is_beaten, -difference, difference)
        numbers[rows, RIVALRY], numbers[rows, IS_BEATEN] = _watched(numbers[rows, RIVALRY], ratio, is_beaten)

    def _weigh(self, numbers: Numbers, rows: Rows, behind: Numbers, *, voice: int, place: int) -> None:
        """Take by how much a voice lost more than the champion [R] in the same values into its discounted sum."""
        both = np.isfinite(behind)
        own, rows, behind = self._of(numbers, voice, place), rows[both], behind[both]
        before = own[rows, BEHIND]
        own[rows, BEHIND] = np.where(np.isfinite(before), KEPT * before, np.float32(0)) + behind

    # -- the verdict ---------------------------------------------------------------------------------------------------------

    def is_stale(self, numbers: Numbers) -> Flags:
        """Whose evidence is too old [B]."""
        return np.asarray(numbers[:, IS_STALE] > 0)

    def is_off(self, numbers: Numbers, voice: int) -> Flags:
        """Whose intervals, of one voice, hold less than is tolerated, at any judged lead [B]."""
        return np.asarray(np.any([self._of(numbers, voice, k)[:, IS_OFF] > 0 for k in range(len(self.leads))], axis=0))

    def is_no_worse(self, numbers: Numbers, voice: int) -> Flags:
        """Of whom a voice has lately lost no more than the champion in the same values, at each judged lead [B]."""
        return np.asarray(np.all([self._of(numbers, voice, k)[:, BEHIND] <= 0 for k in range(len(self.leads))], axis=0))

    def is_beaten(self, numbers: Numbers) -> Flags:
        """Whose champion has been shown to lose more than its runner-up since it was chosen [B]."""
        return np.asarray(numbers[:, IS_BEATEN] > 0)

    # -- where things lie ----------------------------------------------------------------------------------------------------

    def _of(self, numbers: Numbers, voice: int, place: int) -> Numbers:
        """A view of the numbers of a voice at a judged lead [B, OWN]."""
        first = SHARED + (voice * len(self.leads) + place) * OWN
        return numbers[:, first : first + OWN]

    @cached_property
    def _median(self) -> int:
        return self.quantiles.index(0.5)

    @cached_property
    def _interval(self) -> tuple[int, int] | None:
        """The columns of the interval that is judged: of those there are the one whose coverage is nearest to 80 %."""
        pairs = [(low, self._opposite(low)) for low in range(self._median)]
        found = [(low, high) for low, high in pairs if high is not None]
        return min(found, key=lambda pair: abs(1 - 2 * self.quantiles[pair[0]] - NOMINAL), default=None)

    def _opposite(self, low: int) -> int | None:
        return next((q for q, other in enumerate(self.quantiles) if abs(other + self.quantiles[low] - 1) < 1e-9), None)

    @property
    def _nominal(self) -> float:
        """The share of values that the judged interval may miss."""
        return 2 * self.quantiles[self._interval[0]] if self._interval else 0.0

    @cached_property
    def _ratios(self) -> tuple[tuple[np.float32, np.float32], tuple[np.float32, np.float32]]:
        """What a miss and a hit say for coverage being off, and for its being nominal again."""
        tolerated = min(TOLERANCE * self._nominal, 0.75)
        watched = min(tolerated + BEYOND, 0.95)
        return _likelihood_ratios(watched, tolerated), _likelihood_ratios(self._nominal, tolerated)


def _likelihood_ratios(share: float, null: float) -> tuple[np.float32, np.float32]:
    return np.float32(share / null), np.float32((1 - share) / (1 - null))


def _watched(evidence: Numbers, ratio: Numbers, has_fallen: Flags) -> tuple[Numbers, Numbers]:
    """The evidence [R] after another ratio, begun anew where it suffices to change its mind, and whether one has fallen then."""
    after = (ONE + evidence) * ratio.astype(np.float32)
    changes = after >= np.where(has_fallen, TRUST, ALARM)
    return np.where(changes, np.float32(0), after), (has_fallen ^ changes).astype(np.float32)
