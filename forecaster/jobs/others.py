"""Forecasts that somebody else made, read from files so that they can stand in the same table.

A file has the columns that `forecast predict` writes: unique_id, ds, and perhaps origin, lead and forecaster; then a column for
each quantile (q0.1, q0.5, …), or one column of points. CSV, Parquet and NDJSON are read as `forecast ingest` reads them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.errors import DataError
from forecaster.forecast import Forecast, quantile_column
from forecaster.frequency import Frequency, Positions
from forecaster.ingest.content import read_content
from forecaster.ingest.files import find_files, stem
from forecaster.ingest.numbers import as_text, parse_numbers
from forecaster.ingest.rows import ROWS_AT_ONCE
from forecaster.ingest.schema import ID_NAMES, TIME_NAMES
from forecaster.ingest.tables import RawTable, Tables
from forecaster.ingest.timestamps import parse_times
from forecaster.series import Origins, Panel, Values

ORIGIN_NAMES, FORECASTER_NAMES = ("origin", "cutoff"), ("forecaster", "model")
LEAD = "lead"
QUANTILE = re.compile(r"q(0?\.\d+)")
NOT_POINTS = {"origin", "cutoff", LEAD, "forecaster", "model", "index", "unnamed: 0", ""}
NAMELESS = {"y", "y_hat", "yhat", "forecast", "value", "mean", "point", "median", "prediction"}  # columns that name nobody


@dataclass(frozen=True)
class OtherForecasts:
    """The forecasts of one file by the name of who made them."""

    file: str
    forecasts: dict[str, Forecast]


def read_forecasts(sources: Sequence[str], *, frequency: Frequency, horizon: int, taken: Sequence[str]) -> list[OtherForecasts]:
    """The forecasts in files, for leads 1..horizon; who has a name that is taken gets that of the file before it.

    Raises DataError that names the file, the row or the series when a file is none, or a lead is missing.
    """
    used, found = set(taken), []
    for file in find_files(sources) if sources else []:
        made = _read(file, frequency, horizon)
        named = {}
        for name, forecast in made.items():
            free = next(one for one in _names(name, file) if one not in used)
            used.add(free)
            named[free] = forecast
        found.append(OtherForecasts(file, named))
    return found


def covered_origins(others: Sequence[OtherForecasts], panel: Panel, origins: Origins) -> Origins:
    """Those of the origins from which every one of the others has forecasts; raises DataError when there is none."""
    kept = np.ones(len(origins), dtype=bool)
    positions = origins.positions(panel)
    for other in others:
        for name, forecast in other.forecasts.items():
            has = set(zip(forecast.ids, forecast.origins.tolist(), strict=True))
            asked = zip((panel.ids[b] for b in origins.index), positions.tolist(), strict=True)
            covered = np.array([key in has for key in asked], dtype=bool)
            if not covered.any():
                raise DataError(_nothing_matches(other.file, name, forecast, panel, positions))
            kept &= covered
    if not kept.any():
        files = " and ".join(other.file for other in others)
        raise DataError(
            f"--with {files}: no origin is in all of them; expected forecasts from the same ones. Give them one by one."
        )
    return Origins(origins.index[kept], origins.known[kept])


def _names(name: str, file: str) -> Sequence[str]:
    own = stem(file)
    return [name, own, f"{own}: {name}", *(f"{own}: {name} {number}" for number in range(2, 1_000))]


def _read(file: str, frequency: Frequency, horizon: int) -> dict[str, Forecast]:
    table = Tables(read_content(file, None), ROWS_AT_ONCE).whole()
    if table.malformed:
        row, what = table.malformed[0]
        raise DataError(f"--with {file}, row {row}: {what}; expected rows that fit the header. Mend the file.")
    columns = {name.lower(): name for name in table.columns}
    id_column = _named(table, columns, ID_NAMES, "series' names, such as unique_id")
    time_column = _named(table, columns, TIME_NAMES, "times, such as ds")
    quantiles, values, label = _values(table, {id_column, time_column})
    ids = np.asarray(as_text(table.columns[id_column]).to_pylist(), dtype=object)
    at = _positions(table, time_column, frequency)
    speaker = next((columns[name] for name in FORECASTER_NAMES if name in columns), None)
    names = np.full(len(ids), label or stem(file), dtype=object)
    if speaker:
        names = np.asarray(as_text(table.columns[speaker]).to_pylist(), dtype=object)
    origins = _origins(table, columns, frequency, at=at, keys=pd.MultiIndex.from_arrays([names, ids]))
    wrong = np.flatnonzero(at <= origins)
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"--with {file}, row {table.rows[row]}: series {ids[row]!r} is forecast for {_label(frequency, at[row])} from "
            f"{_label(frequency, origins[row])}; expected a time after the origin. Mend the file."
        )
    twice = np.flatnonzero(pd.DataFrame({"name": names, "id": ids, "at": at, "origin": origins}).duplicated().to_numpy())
    if len(twice):
        row = int(twice[0])
        raise DataError(
            f"--with {file}, row {table.rows[row]}: series {ids[row]!r} is forecast twice for {_label(frequency, at[row])} from "
            "one origin; expected one row for each. Add a column origin, or forecaster, that tells them apart."
        )
    made = {}
    for name in dict.fromkeys(names.tolist()):
        rows = np.flatnonzero(names == name)
        cells = _Cells(ids[rows], origins[rows], at[rows] - origins[rows], values[rows])
        made[str(name)] = _forecast(file, cells, quantiles, frequency, horizon)
    return made


@dataclass(frozen=True)
class _Cells:
    """What stands in N rows of a file: the series, its origin, the lead, and the quantiles [N, Q]."""

    ids: NDArray[np.object_]
    origins: Positions
    leads: Positions
    values: Values


def _forecast(file: str, cells: _Cells, quantiles: tuple[float, ...], frequency: Frequency, horizon: int) -> Forecast:
    """What one forecaster said, a row for each series and origin; raises DataError where a lead is missing."""
    codes, ids = pd.factorize(cells.ids, sort=True)
    keys, place = np.unique(np.stack([codes, cells.origins], axis=1), axis=0, return_inverse=True)
    inside = cells.leads <= horizon
    count = np.bincount(place[inside], minlength=len(keys))
    short = np.flatnonzero(count < horizon)
    if len(short):
        b, origin = keys[short[0]]
        raise DataError(
            f"--with {file}: series {ids[b]!r} from {_label(frequency, origin)} has {count[short[0]]} of the {horizon} leads "
            f"that are scored; expected all of them. Forecast {horizon} steps."
        )
    table = np.full((len(keys), horizon, len(quantiles)), np.nan)
    table[place[inside], cells.leads[inside] - 1] = cells.values[inside]
    return Forecast(tuple(str(ids[b]) for b in keys[:, 0]), keys[:, 1], quantiles, table, frequency, {})


def _values(table: RawTable, others: set[str]) -> tuple[tuple[float, ...], Values, str]:
    """The quantiles of a file, their values [N, Q], and what a column of points is called, if it names anybody."""
    found = {float(match[1]): name for name in table.columns if (match := QUANTILE.fullmatch(name.strip().lower()))}
    label = ""
    if found and 0.5 not in found:
        given = ", ".join(quantile_column(q) for q in sorted(found))
        raise DataError(f"--with {table.file}: has {given} and no q0.5; expected the median among the quantiles. Add it.")
    if not found:
        points = [
            name for name in table.columns if name not in others and name.lower() not in NOT_POINTS and _is_numeric(table, name)
        ]
        points = [name for name in points if name != "y"] or points  # beside forecasts, y is what happened
        if len(points) != 1:
            said = f"columns of numbers {', '.join(points)}" if points else "no column of numbers"
            raise DataError(
                f"--with {table.file}: has {said}; expected quantiles such as q0.5, or one column of points. Rename them."
            )
        found, label = {0.5: points[0]}, "" if points[0].lower() in NAMELESS else points[0]
    quantiles = tuple(sorted(found))
    columns = []
    for quantile in quantiles:
        numbers = parse_numbers(table.columns[found[quantile]])
        bad = np.flatnonzero(numbers.is_bad)
        if len(bad):
            cell = as_text(table.columns[found[quantile]])[int(bad[0])].as_py()
            raise DataError(
                f"--with {table.file}, row {table.rows[bad[0]]}: {found[quantile]} is {cell!r}; expected a number. Mend the file."
            )
        columns.append(numbers.values)
    return quantiles, np.stack(columns, axis=1), label


def _is_numeric(table: RawTable, name: str) -> bool:
    numbers = parse_numbers(table.columns[name])
    return bool((~numbers.is_bad).all() and np.isfinite(numbers.values).any())


def _named(table: RawTable, columns: dict[str, str], names: Sequence[str], what: str) -> str:
    for name in names:
        if name in columns:
            return columns[name]
    raise DataError(f"--with {table.file}: has columns {', '.join(table.columns)}; expected one of {what}. Rename it.")


def _origins(table: RawTable, columns: dict[str, str], frequency: Frequency, *, at: Positions, keys: pd.MultiIndex) -> Positions:
    """From where each row was forecast: as it says, or its lead, or one step before the first time of its series."""
    for name in ORIGIN_NAMES:
        if name in columns:
            return _positions(table, columns[name], frequency)
    if LEAD in columns:
        lead = parse_numbers(table.columns[columns[LEAD]])
        bad = np.flatnonzero(lead.is_bad | ~np.isfinite(lead.values) | (lead.values < 1) | (lead.values % 1 != 0))
        if len(bad):
            cell = as_text(table.columns[columns[LEAD]])[int(bad[0])].as_py()
            raise DataError(f"--with {table.file}, row {table.rows[bad[0]]}: lead is {cell!r}; expected 1, 2, … Mend the file.")
        return np.asarray(at - lead.values.astype(np.int64))
    return np.asarray(pd.Series(at).groupby(keys.to_flat_index().to_numpy()).transform("min").to_numpy() - 1)


def _positions(table: RawTable, column: str, frequency: Frequency) -> Positions:
    """The times of a column as positions of the frequency; raises DataError for one that is none."""
    parsed = parse_times(table.columns[column], as_steps=frequency.is_numbered)
    kinds = ["step numbers" if numbered else "dates" for numbered in (parsed.is_numbered, frequency.is_numbered)]
    if parsed.is_numbered != frequency.is_numbered:
        raise DataError(
            f"--with {table.file}: {column} holds {kinds[0]}, the panel {kinds[1]}; expected the same. Rewrite {column}."
        )
    times: pd.DatetimeIndex | np.ndarray[tuple[int], np.dtype[np.int64]] = parsed.times
    is_wrong = parsed.fault != 0
    if not parsed.is_numbered:
        times = pd.DatetimeIndex(parsed.times.astype("datetime64[ns]"))
        if frequency.time_zone and not parsed.is_zoned.all():
            local = times.tz_localize(frequency.time_zone, ambiguous=np.ones(len(times), dtype=bool), nonexistent="shift_forward")
            times = times.where(parsed.is_zoned, local.tz_convert("UTC").tz_localize(None))
    is_wrong |= ~np.asarray(frequency.is_aligned(times))
    if is_wrong.any():
        row = int(np.flatnonzero(is_wrong)[0])
        cell = as_text(table.columns[column])[row].as_py()
        raise DataError(
            f"--with {table.file}, row {table.rows[row]}: {column} is {cell!r}; expected a time on the grid of "
            f"{frequency.alias}, as in the panel. Mend the file."
        )
    return frequency.positions(times)


def _label(frequency: Frequency, position: np.int64 | int) -> str:
    return str(frequency.labels(np.array([int(position)])).iloc[0])


def _nothing_matches(file: str, name: str, forecast: Forecast, panel: Panel, positions: Positions) -> str:
    shared = [unique_id for unique_id in dict.fromkeys(forecast.ids) if unique_id in set(panel.ids)]
    if not shared:
        return (
            f"--with {file}: {name} forecasts series such as {forecast.ids[0]!r}, the panel has {panel.ids[0]!r} and others, and "
            "none is in both; expected forecasts under the panel's ids. Rename them."
        )
    frequency = panel.frequency
    first, last = _label(frequency, int(positions.min())), _label(frequency, int(positions.max()))
    own = _label(frequency, int(forecast.origins[forecast.ids.index(shared[0])]))
    return (
        f"--with {file}: {name} forecasts series {shared[0]!r} from {own}; expected forecasts from the origins that are scored, "
        f"the last values known, which lie from {first} to {last}. Forecast from one of these, or score others with --stride."
    )


__all__ = ["OtherForecasts", "covered_origins", "read_forecasts"]
