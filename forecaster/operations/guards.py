"""Guard rails for what is delivered: is it there, is it whole, and is it still the same kind of numbers?

Every finding has a severity by policy: `warn` tells, `hold` leaves the delivery (or some of its series) out and trains nothing
tonight, `stop` does nothing more. A night goes on with the worst that was found.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from forecaster.frequency import Frequency
from forecaster.series import Panel, Values

Severity = Literal["warn", "hold", "stop"]
Policy = Literal["off", "warn", "hold", "stop"]

SEVERITIES: tuple[Severity, ...] = ("warn", "hold", "stop")
KINDS = ("unreadable", "future", "rewritten", "scale", "negative", "stale", "gone", "sparse")
BLOCKS = 60  # of history, each as long as the delivery, tell what is usual
FEWEST_BLOCKS = 8
FEWEST_VALUES = 20
NAMED = 3


class GuardsConfig(BaseModel):
    """What is done about each kind of finding, and from when on it is one.

    `scale_factor` times the usual size of values is another unit; `held_share` of the series may be held alone, more hold the
    delivery; `gone_share` of the series without news holds, a tenth of it warns; `rewritten_share` of the values that were known
    and now differ is another history; data may be `max_delay_steps` late (null: a day, where steps are shorter, else none).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unreadable: Policy = "hold"
    future: Policy = "hold"
    rewritten: Policy = "hold"
    scale: Policy = "hold"
    negative: Policy = "hold"
    stale: Policy = "warn"
    gone: Policy = "hold"
    sparse: Policy = "warn"
    scale_factor: float = Field(default=10.0, gt=1)
    held_share: float = Field(default=0.2, ge=0, le=1)
    gone_share: float = Field(default=0.3, gt=0, le=1)
    sparse_share: float = Field(default=0.5, gt=0, le=1)
    rewritten_share: float = Field(default=0.2, gt=0, le=1)
    max_delay_steps: int | None = Field(default=None, ge=0)

    def accepting(self, kinds: Iterable[str]) -> "GuardsConfig":
        """The same policies, with findings of some kinds only told."""
        return self.model_copy(update={kind: "warn" for kind in kinds if getattr(self, kind) != "off"})


@dataclass(frozen=True)
class Finding:
    """What was found, in one sentence with its numbers; of some series, or () for all of the delivery."""

    kind: str
    severity: Severity
    told: str
    series: tuple[str, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)


def worst(findings: Sequence[Finding]) -> Severity | None:
    """The severest of the findings, None where there are none."""
    return max((finding.severity for finding in findings), key=SEVERITIES.index, default=None)


def check_delivery(stored: Panel, arrived: Panel, *, config: GuardsConfig, now: int | None = None) -> list[Finding]:
    """What is suspicious about values that arrived, before they are joined to those that are stored.

    `now` is the position of the present. Series that are new pass: nothing is known of them.
    """
    place = {unique_id: b for b, unique_id in enumerate(stored.ids)}
    pairs = [(place[unique_id], a) for a, unique_id in enumerate(arrived.ids) if unique_id in place]
    found = [
        _future(arrived, now, config),
        _rewritten(stored, arrived, pairs, config),
        *_changed_series(stored, arrived, pairs, config),
    ]
    return [finding for finding in found if finding]


def check_arrivals(
    after: Panel, ends_before: Mapping[str, int], *, config: GuardsConfig, due: int | None = None
) -> list[Finding]:
    """What lacks in a panel after a night's deliveries: the newest values, whole series, or many of their values.

    `ends_before` is the last position of each series before the night, `due` the last one that should be there by now.
    """
    found = [_stale(after, due, config), *_incomplete(after, ends_before, config)]
    return [finding for finding in found if finding]


# -- time --------------------------------------------------------------------------------------------------------------------


def _future(arrived: Panel, now: int | None, config: GuardsConfig) -> Finding | None:
    if config.future == "off" or now is None or not (ahead := arrived.ends > now).any():
        return None
    steps = int(arrived.ends.max() - now)
    last = arrived.frequency.labels(np.array([arrived.ends.max(), now]))
    told = (
        f"{_series(ahead.sum())} have values up to {last.iloc[0]}, {_steps(steps)} after the present, {last.iloc[1]}. "
        "Look at the clock and the time zone of what delivers."
    )
    return Finding("future", config.future, told, numbers={"series": float(ahead.sum()), "steps": float(steps)})


def _stale(after: Panel, due: int | None, config: GuardsConfig) -> Finding | None:
    if config.stale == "off" or due is None:
        return None
    late = due - int(after.ends.max())
    allowed = config.max_delay_steps
    if allowed is None:
        allowed = 0 if after.frequency.is_numbered or after.frequency.days >= 1 else round(1 / after.frequency.days)
    if late <= allowed:
        return None
    last = after.frequency.labels(np.array([after.ends.max(), due]))
    told = f"the newest value is of {last.iloc[0]}, and {last.iloc[1]} was due: {_steps(late)} late. Look at what delivers."
    return Finding("stale", config.stale, told, numbers={"steps": float(late)})


def _rewritten(stored: Panel, arrived: Panel, pairs: list[tuple[int, int]], config: GuardsConfig) -> Finding | None:
    """Values that were known and now differ: a shift in time or a factor between the two is told."""
    if config.rewritten == "off":
        return None
    old, new = _overlaps(stored, arrived, pairs, lag=0)
    if len(old) < FEWEST_VALUES // 2 or (share := float(_differ(old, new).mean())) <= config.rewritten_share:
        return None
    told = f"{100 * share:.0f} % of {len(old):,} values that were known arrive with other numbers"
    lag = _fitting_lag(stored, arrived, pairs, arrived.frequency)
    if lag is not None:
        told += f"; they fit when moved by {_steps(lag)}. Look at the time zone of what delivers."
    elif (factor := _factor(old, new)) is not None:
        told += f"; all are {factor:g} times as large. Look at the unit of what delivers."
    else:
        told += ". If the history was revised, take it with --accept rewritten."
    return Finding("rewritten", config.rewritten, told, numbers={"share": share, "values": float(len(old))})


def _overlaps(stored: Panel, arrived: Panel, pairs: list[tuple[int, int]], *, lag: int) -> tuple[Values, Values]:
    """Values of the same series and position, known in both; those that arrived are moved by `lag` steps first."""
    olds, news = [np.empty(0)], [np.empty(0)]
    for b, a in pairs:
        start = arrived.starts[a] + lag
        first, last = max(stored.starts[b], start), min(stored.ends[b], arrived.ends[a] + lag)
        if first <= last:
            olds.append(stored.series(b)[first - stored.starts[b] : last + 1 - stored.starts[b]])
            news.append(arrived.series(a)[first - start : last + 1 - start])
    old, new = np.concatenate(olds), np.concatenate(news)
    known = ~np.isnan(old) & ~np.isnan(new)
    return old[known], new[known]


def _fitting_lag(stored: Panel, arrived: Panel, pairs: list[tuple[int, int]], frequency: Frequency) -> int | None:
    """The move in time after which nine in ten of the known values agree, if there is one within a day or a season."""
    farthest = min(max(frequency.season_length, 2), 48)
    for lag in sorted(range(-farthest, farthest + 1), key=abs):
        old, new = _overlaps(stored, arrived, pairs, lag=lag)
        if lag and len(np.unique(old)) >= FEWEST_VALUES // 4 and _differ(old, new).mean() < 0.1:
            return lag
    return None


def _factor(old: Values, new: Values) -> float | None:
    """The one factor between two sets of values, if there is one."""
    ratios = new[old != 0] / old[old != 0]
    if not len(ratios) or np.ptp(np.quantile(ratios, (0.05, 0.95))) > 0.01 * abs(np.median(ratios)):
        return None
    return float(np.round(np.median(ratios), 4))


def _differ(old: Values, new: Values) -> NDArray[np.bool_]:
    return np.asarray(np.abs(old - new) > 1e-9 * np.maximum(np.abs(old), np.abs(new)))


# -- size --------------------------------------------------------------------------------------------------------------------


def _changed_series(stored: Panel, arrived: Panel, pairs: list[tuple[int, int]], config: GuardsConfig) -> list[Finding | None]:
    """Series whose values are no longer of the usual size or sign."""
    scaled, negative = dict[str, str](), dict[str, str]()
    checked = 0
    for b, a in pairs:
        fresh = arrived.series(a)[max(int(stored.ends[b] - arrived.starts[a]) + 1, 0) :]
        fresh, known = fresh[~np.isnan(fresh)], stored.series(b)
        if not len(fresh):
            continue
        checked += 1
        if change := change_of_scale(known[~np.isnan(known)], fresh, factor=config.scale_factor):
            scaled[arrived.ids[a]] = change
        if fresh.min() < 0 and (~np.isnan(known)).sum() >= FEWEST_VALUES and np.nanmin(known) >= 0:
            negative[arrived.ids[a]] = f"fell to {fresh.min():g} and never was below {np.nanmin(known):g}"
    return [
        _by_share("scale", config.scale, scaled, checked, config),
        _by_share("negative", config.negative, negative, checked, config),
    ]


def change_of_scale(history: Values, fresh: Values, *, factor: float = 10.0) -> str | None:
    """What is unusual about the size of fresh values [N] of a series, in words; None where nothing is.

    They are held against the blocks of N values before them. A size is the median of the absolute values: unusual is one that is
    `factor` times the usual, and twice the largest (or a tenth, and half the smallest); so is a move of the level of three times
    the largest that was seen. Series with fewer than eight blocks are not judged.

    >>> change_of_scale(np.tile([9.0, 10.0, 11.0], 50), np.array([9_900.0, 10_100.0]))
    'usually about 10, now about 10000'
    """
    count = len(fresh)
    blocks = history[len(history) % count :].reshape(-1, count)[-BLOCKS:]
    if len(blocks) < FEWEST_BLOCKS:
        return None
    sizes, size = np.median(np.abs(blocks), axis=1), float(np.median(np.abs(fresh)))
    usual = float(np.median(sizes)) or float(sizes.max())
    is_large = size > factor * usual and size > 2 * sizes.max()
    is_small = size * factor < usual and size < sizes.min() / 2
    if usual > 0 and (is_large or is_small):
        return f"usually about {usual:g}, now about {size:g}"
    levels, level = np.median(blocks, axis=1), float(np.median(fresh))
    most = float(np.abs(np.diff(levels)).max())
    if most > 0 and abs(level - levels[-1]) > 3 * max(most, float(np.ptp(levels)) / 3):
        return f"moved from about {levels[-1]:g} to {level:g}, where it moved by {most:g} at most"
    return None


def _by_share(kind: str, policy: Policy, changed: dict[str, str], checked: int, config: GuardsConfig) -> Finding | None:
    """The finding about the series that changed; about all of the delivery where they are many."""
    if policy == "off" or not changed:
        return None
    share = len(changed) / checked
    is_few = share <= config.held_share
    what = {"scale": "of another size than before", "negative": "below zero for the first time"}[kind]
    examples = "; ".join(f"{unique_id!r} {how}" for unique_id, how in list(changed.items())[:NAMED])
    fate = {"warn": "taken in all the same", "hold": f"{'these series are' if is_few else 'the delivery is'} left out"}
    told = (
        f"{len(changed):,} of {checked:,} series are {what} ({examples}); {fate.get(policy, 'nothing more is done')}. "
        f"Look at the unit; if it is right, take it with --accept {kind}."
    )
    numbers = {"series": float(len(changed)), "share": share}
    return Finding(kind, policy, told, tuple(changed) if is_few else (), numbers)


# -- completeness ------------------------------------------------------------------------------------------------------------


def _incomplete(after: Panel, ends_before: Mapping[str, int], config: GuardsConfig) -> list[Finding | None]:
    """Series that were alive and got no news while others did, and news with far more holes than usual."""
    known = np.array([b for b, unique_id in enumerate(after.ids) if unique_id in ends_before], dtype=np.int64)
    old_ends = np.array([ends_before[after.ids[b]] for b in known], dtype=np.int64)
    new_ends = after.ends[known]
    if not len(known) or new_ends.max() <= old_ends.max():
        return []
    is_alive = old_ends >= old_ends.max() - after.frequency.horizon
    gone = [after.ids[b] for b in known[is_alive & (new_ends <= old_ends)]]
    return [_gone(gone, int(is_alive.sum()), config), _sparse(after, known, new_ends - old_ends, config)]


def _gone(gone: list[str], alive: int, config: GuardsConfig) -> Finding | None:
    share = len(gone) / alive
    if config.gone == "off" or share <= config.gone_share / 10:
        return None
    names = ", ".join(repr(name) for name in gone[:NAMED])
    told = f"{len(gone):,} of {alive:,} series have no news ({100 * share:.0f} %), such as {names}. Look at what delivers them."
    severity: Severity = config.gone if share > config.gone_share else "warn"
    return Finding("gone", severity, told, tuple(gone), {"series": float(len(gone)), "share": share})


def _sparse(after: Panel, known: NDArray[np.int64], steps: NDArray[np.int64], config: GuardsConfig) -> Finding | None:
    """Holes in the last `steps` [B] positions of the known series, held against those of all the positions before."""
    is_new = [np.isnan(after.series(b)[-step:]) for b, step in zip(known, steps, strict=True) if step > 0]
    lacking = float(np.concatenate(is_new).mean())
    before = max(len(after.values) - sum(map(len, is_new)), 1)
    usual = (float(np.isnan(after.values).sum()) - sum(float(part.sum()) for part in is_new)) / before
    if config.sparse == "off" or lacking - usual <= config.sparse_share:
        return None
    told = f"{100 * lacking:.0f} % of what is new has no value, usually {100 * usual:.0f} %. Look at what delivers."
    return Finding("sparse", config.sparse, told, numbers={"lacking": lacking, "usual": usual})


def _series(count: int) -> str:
    return f"{int(count):,} series"


def _steps(count: int) -> str:
    return f"{count:,} step{'' if abs(count) == 1 else 's'}"
