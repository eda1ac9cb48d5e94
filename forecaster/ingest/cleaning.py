"""From rows to one value at each position of each series, with a word about everything that is not as it should be."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.frequency import Frequency, Positions
from forecaster.ingest.faults import FAULTS_KEPT, Faults, IngestPolicies, action_of
from forecaster.ingest.rows import Rows
from forecaster.ingest.spool import Clocks
from forecaster.series import Values


def to_utc(rows: Rows, clocks: Clocks, time_zone: str | None, policies: IngestPolicies, faults: Faults) -> Rows:
    """Rows whose times are UTC: those without an offset are read on the clock of the zone, when there is one.

    `clocks` are those of all rows, of which these may be some.
    """
    local = np.logical_not(rows.is_zoned)
    if not clocks.local or not len(rows):
        return rows
    if time_zone is None:
        if clocks.zoned:
            odd = local if clocks.local <= clocks.zoned else rows.is_zoned
            has, others = ("no offset", "others have one") if odd is local else ("an offset", "others have none")
            places = rows.faults(
                "mixed_zones", _by_series(rows, odd), lambda row: f"timestamp {_clock(rows, row)} has {has}, {others}"
            )
            if odd.any():
                faults.add("mixed_zones", "error", places, count=int(odd.sum()))
        return rows
    if not local.any():
        return rows
    chosen = np.flatnonzero(local)
    clock = pd.DatetimeIndex(rows.times[chosen].astype("datetime64[ns]"))
    nth = pd.DataFrame({"code": rows.codes[chosen], "time": rows.times[chosen]}).groupby(["code", "time"]).cumcount()
    stamps = clock.tz_localize(time_zone, ambiguous="NaT", nonexistent="NaT")
    unclear = chosen[np.asarray(stamps.isna())]
    if not len(unclear):
        return replace(rows, times=_with(rows.times, chosen, stamps))
    shifted = clock.tz_localize(time_zone, ambiguous=(nth == 0).to_numpy(), nonexistent="shift_forward")
    nowhere = np.asarray(clock.tz_localize(time_zone, ambiguous=(nth == 0).to_numpy(), nonexistent="NaT").isna())
    is_midnight = clocks.is_midnight  # days, whose clock the frequency keeps
    for kind, mask, verb in (
        ("ambiguous_time", np.isin(chosen, unclear) & ~nowhere, "stands twice on"),
        ("nonexistent_time", nowhere, "is skipped by"),
    ):
        if mask.any():
            found = _by_series(rows, chosen[mask])
            places = rows.faults(kind, found, lambda row: f"{_clock(rows, row)} {verb} the clock of {time_zone}")  # noqa: B023
            faults.add(kind, "repaired" if is_midnight else action_of(policies.clock_change), places, count=int(mask.sum()))
    rows = replace(rows, times=_with(rows.times, chosen, shifted))
    if policies.clock_change == "drop" and not is_midnight:
        rows = rows.take(np.setdiff1d(np.arange(len(rows)), unclear))
    return rows


def _by_series(rows: Rows, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Which rows these are, series by series: so they are told in one order however many series are worked on at once."""
    chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
    return np.asarray(chosen[np.argsort(rows.codes[chosen], kind="stable")], dtype=np.int64)


def _with(times: NDArray[np.int64], chosen: NDArray[np.int64], stamps: pd.DatetimeIndex) -> NDArray[np.int64]:
    times = times.copy()
    times[chosen] = stamps.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[ns]").astype(np.int64)
    return times


def _clock(rows: Rows, row: int) -> str:
    return str(pd.Timestamp(int(rows.times[row])))


@dataclass(frozen=True)
class Placed:
    """Rows at positions [N], sorted by series and position, each pair once."""

    rows: Rows
    positions: Positions

    def take(self, chosen: NDArray[np.bool_]) -> "Placed":
        return Placed(self.rows.take(chosen), self.positions[chosen])


def place(rows: Rows, frequency: Frequency, policies: IngestPolicies, faults: Faults, *, names: tuple[str, ...] = ()) -> Placed:
    """Rows at their positions; those off the grid or at a position that is taken are dealt with as the policies say.

    `names` [K] are those of the rows' covariates.
    """
    uniques, inverse = np.unique(rows.times, return_inverse=True)
    stamps = uniques if frequency.is_numbered else pd.DatetimeIndex(uniques.astype("datetime64[ns]"))
    positions = frequency.positions(stamps)[inverse]
    astray = ~frequency.is_aligned(stamps)[inverse]
    if astray.any():
        label = _labels(frequency, rows.times)
        grid = f"the grid of {frequency.alias}"
        places = rows.faults("misaligned", _by_series(rows, astray), lambda row: f"{label(row)} is not on {grid}")
        faults.add("misaligned", action_of(policies.misaligned), places, count=int(astray.sum()))
        if policies.misaligned == "drop":
            rows, positions = rows.take(~astray), positions[~astray]
    return _without_duplicates(rows, positions, frequency, names=names, policies=policies, faults=faults)


def _labels(frequency: Frequency, times: NDArray[np.int64]) -> Callable[[int], str]:
    """How the user reads the time of a row."""

    def label(row: int) -> str:
        if frequency.is_numbered:
            return f"step {times[row]}"
        stamp = pd.Timestamp(int(times[row]))
        return str(stamp.tz_localize("UTC").tz_convert(frequency.time_zone) if frequency.time_zone else stamp)

    return label


def _without_duplicates(
    rows: Rows, positions: Positions, frequency: Frequency, *, names: tuple[str, ...], policies: IngestPolicies, faults: Faults
) -> Placed:
    """One row for each series and position: identical ones collapse, of different ones the policy decides."""
    order = np.lexsort((positions, rows.codes))  # stable: what came first stays first
    placed = Placed(rows.take(order), positions[order])
    rows, positions = placed.rows, placed.positions
    fresh = np.ones(len(rows), dtype=bool)
    fresh[1:] = (np.diff(rows.codes) != 0) | (np.diff(positions) != 0)
    if fresh.all():
        return placed
    if rows.known.shape[1]:
        return _cell_by_cell(placed, fresh, frequency, names=names, policies=policies, faults=faults)
    group = np.cumsum(fresh) - 1
    first = np.flatnonzero(fresh)
    differs = ~((rows.values == rows.values[first][group]) | (np.isnan(rows.values) & np.isnan(rows.values[first][group])))
    at_odds = np.zeros(len(first), dtype=bool)
    at_odds[group[differs]] = True
    sizes = np.diff(np.append(first, len(rows)))
    identical = ~fresh & ~at_odds[group]
    _add_identical(rows, identical, frequency, faults)
    if at_odds.any():
        _add_duplicates(
            rows, first[at_odds], sizes[at_odds], frequency, columns=[("values", rows.values)], policies=policies, faults=faults
        )
    if policies.duplicates == "mean":
        known = np.bincount(group, weights=~np.isnan(rows.values), minlength=len(first))
        sums = np.bincount(group, weights=np.nan_to_num(rows.values), minlength=len(first))
        means = np.divide(sums, known, out=np.full(len(first), np.nan), where=known > 0)
        values = np.where(at_odds, means, rows.values[first])
        return Placed(replace(rows.take(first), values=values), positions[first])
    kept = first + sizes - 1 if policies.duplicates == "last" else first
    return Placed(rows.take(kept), positions[kept])


def _cell_by_cell(
    placed: Placed,
    fresh: NDArray[np.bool_],
    frequency: Frequency,
    *,
    names: tuple[str, ...],
    policies: IngestPolicies,
    faults: Faults,
) -> Placed:
    """One row for each series and position, whose value and covariates may stand in different rows, or in different files.

    Where two rows say different things of one cell, the policy decides.
    """
    rows, first = placed.rows, np.flatnonzero(fresh)
    cells = pd.DataFrame(np.column_stack([rows.values, rows.known]))
    group = np.cumsum(fresh) - 1
    grouped = cells.groupby(group)
    differs = (grouped.max() > grouped.min()).to_numpy()
    at_odds = np.asarray(differs.any(axis=1))
    has_value = ~np.isnan(rows.values)
    again = has_value & (pd.Series(has_value).groupby(group).cumsum() > 1).to_numpy() & ~at_odds[group]
    _add_identical(rows, again, frequency, faults)
    if at_odds.any():
        columns = [("values", rows.values), *((name, rows.known[:, k]) for k, name in enumerate(names))]
        sizes = np.diff(np.append(first, len(rows)))
        _add_duplicates(rows, first[at_odds], sizes[at_odds], frequency, columns=columns, policies=policies, faults=faults)
    chosen = (grouped.last() if policies.duplicates == "last" else grouped.first()).to_numpy()
    if policies.duplicates == "mean":
        chosen = np.where(differs, grouped.mean().to_numpy(), chosen)
    return Placed(replace(rows.take(first), values=chosen[:, 0], known=chosen[:, 1:]), placed.positions[first])


def _add_identical(rows: Rows, identical: NDArray[np.bool_], frequency: Frequency, faults: Faults) -> None:
    if identical.any():
        label = _labels(frequency, rows.times)
        places = rows.faults("identical", identical, lambda row: f"{label(row)} stands there with the same value before")
        faults.add("identical", "repaired", places, count=int(identical.sum()))


def _add_duplicates(
    rows: Rows,
    first: NDArray[np.int64],
    sizes: NDArray[np.int64],
    frequency: Frequency,
    *,
    columns: list[tuple[str, Values]],
    policies: IngestPolicies,
    faults: Faults,
) -> None:
    """Names the groups of rows that stand at one position and differ; each is shown by the first column in which it does."""
    size_of = dict(zip(first[:FAULTS_KEPT].tolist(), sizes[:FAULTS_KEPT].tolist(), strict=True))
    label = _labels(frequency, rows.times)

    def place_of(row: int, other: int) -> str:
        elsewhere = "" if rows.file[other] == rows.file[row] else f" of {rows.files[rows.file[other]]}"
        return f"{rows.row[other]}{elsewhere}"

    def found(row: int) -> str:
        others = slice(row, row + min(size_of[row], 3))
        times = {2: "twice"}.get(size_of[row], f"{size_of[row]} times")
        name, column = next((one for one in columns if _differ(one[1][row : row + size_of[row]])), columns[0])
        values = ", ".join(f"{value:g}" for value in column[others])
        again = ", ".join(place_of(row, other) for other in range(others.start + 1, others.stop))
        return f"{label(row)} appears {times} with {name} {values}, again in row {again}"

    faults.add("duplicate", action_of(policies.duplicates), rows.faults("duplicate", first, found), count=len(first))


def _differ(values: Values) -> bool:
    return len(np.unique(values[~np.isnan(values)])) > 1
