"""What to say about the series of a panel: their gaps, their length, their ids."""

import unicodedata

import numpy as np
from numpy.typing import NDArray

from forecaster.frequency import Positions
from forecaster.ingest.calendar import ascending_differences
from forecaster.ingest.cleaning import Placed
from forecaster.ingest.faults import FAULTS_KEPT, Action, Fault, Faults, IngestPolicies, action_of
from forecaster.ingest.rows import Rows
from forecaster.series import Panel, Values

POSITIONS_PER_ROW, POSITIONS_FREE = 100, 100_000  # a series that is emptier than this was not meant to be one


def check_gaps(placed: Placed, stored: Panel | None, policies: IngestPolicies, faults: Faults) -> None:
    """Names the gaps between rows, and between them and what is stored; and series that would be nearly nothing but gaps."""
    rows = placed.rows
    codes, positions, source = rows.codes, placed.positions, np.arange(len(rows))
    begin, end = stored_span(rows.ids, stored)
    known = np.flatnonzero(begin <= end)
    codes = np.concatenate([codes, known, known])
    positions = np.concatenate([positions, begin[known], end[known]])
    source = np.concatenate([source, np.full(2 * len(known), -1)])
    order = np.lexsort((positions, codes))
    codes, positions, source = codes[order], positions[order], source[order]
    width = ascending_differences(positions) - 1
    inside = (positions[:-1] >= begin[codes[:-1]]) & (positions[1:] <= end[codes[1:]])
    gaps = np.flatnonzero((np.diff(codes) == 0) & (width > 0) & ~inside)
    if not len(gaps):
        return
    missing = np.bincount(codes[1:][gaps], weights=width[gaps], minlength=len(rows.ids))
    present = np.bincount(codes, minlength=len(rows.ids)) + np.maximum(end - begin + 1, 0)
    sparse = np.flatnonzero(missing > np.maximum(POSITIONS_PER_ROW * present, POSITIONS_FREE))
    for code in sparse[:FAULTS_KEPT]:
        of_series = gaps[codes[1:][gaps] == code]
        widest = int(of_series[width[of_series].argmax()])
        found = f"{int(present[code]):,} rows and {int(missing[code]):,} missing positions, {int(width[widest]):,} of them"
        faults.add("too_sparse", "error", [_gap_fault("too_sparse", rows, source, widest, found)])
    ends = [_gap_fault("gap", rows, source, int(gap), _counted(int(width[gap]))) for gap in gaps[:FAULTS_KEPT]]
    faults.add("gap", action_of(policies.gaps), ends, count=len(gaps))


def check_covariates(placed: Placed, stored: Panel | None, faults: Faults) -> None:
    """Names series whose covariates would be nearly nothing but gaps: a stray timestamp far in the future."""
    rows = placed.rows
    given = np.flatnonzero(~np.isnan(rows.known).all(axis=1))
    codes, positions = rows.codes[given], placed.positions[given]
    first, last = np.full(len(rows.ids), np.iinfo(np.int64).max), np.full(len(rows.ids), np.iinfo(np.int64).min)
    np.minimum.at(first, codes, positions)
    np.maximum.at(last, codes, positions)
    count = np.bincount(codes, minlength=len(rows.ids))
    begin, end = stored_span(rows.ids, stored)
    known = begin <= end
    first, last = np.where(known, np.minimum(first, begin), first), np.where(known, np.maximum(last, end), last)
    count = count + np.where(known, end - begin + 1, 0)
    width = np.where(first <= last, last.astype(np.float64) - first, 0.0)
    for code in np.flatnonzero(width > np.maximum(POSITIONS_PER_ROW * count, POSITIONS_FREE))[:FAULTS_KEPT]:
        row = int(given[codes == code][positions[codes == code].argmax()])
        found = f"covariates of {int(count[code]):,} rows lie over {int(width[code]):,} positions"
        place = (rows.files[rows.file[row]], int(rows.row[row]))
        faults.add("too_sparse", "error", [Fault("too_sparse", rows.ids[code], *place, found)])


def _gap_fault(kind: str, rows: Rows, source: NDArray[np.int64], gap: int, found: str) -> Fault:
    """A gap, at the row of a file on one of its sides."""
    after = int(source[gap + 1])
    row = after if after >= 0 else int(source[gap])
    side = "before it" if after >= 0 else "after it"
    return Fault(kind, rows.ids[rows.codes[row]], rows.files[rows.file[row]], int(rows.row[row]), f"{found} {side}")


def stored_span(ids: tuple[str, ...], stored: Panel | None) -> tuple[Positions, Positions]:
    """First and last stored position of each id; the last lies before the first where nothing is stored."""
    begin, end = np.zeros(len(ids), dtype=np.int64), np.full(len(ids), -1, dtype=np.int64)
    if stored is not None:
        index = {series: b for b, series in enumerate(stored.ids)}
        pairs = [(code, index[series]) for code, series in enumerate(ids) if series in index]
        if pairs:
            codes, known = np.asarray(pairs, dtype=np.int64).T
            begin[codes], end[codes] = stored.starts[known], stored.ends[known]
    return begin, end


def check_lengths(placed: Placed, stored: Panel | None, policies: IngestPolicies, faults: Faults) -> Placed:
    """The rows of series that have enough values, with what is stored; of the others, what the policy keeps."""
    rows = placed.rows
    observed = np.bincount(rows.codes[~np.isnan(rows.values)], minlength=len(rows.ids))
    if stored is not None:
        old, _ = stored_values(placed, stored)
        again = np.bincount(rows.codes[~np.isnan(old)], minlength=len(rows.ids))
        index = {series: b for b, series in enumerate(stored.ids)}
        owned = [int((~np.isnan(stored.series(index[s]))).sum()) if s in index else 0 for s in rows.ids]
        observed = observed + np.asarray(owned, dtype=np.int64) - again
    present = np.bincount(rows.codes, minlength=len(rows.ids)) > 0
    unobserved = present & (observed == 0)
    short = present & (observed > 0) & (observed < policies.min_length)
    action = action_of(policies.short)
    fatal: Action = "dropped" if action == "dropped" else "error"
    for kind, mask, fate in (("unobserved", unobserved, fatal), ("short", short, action)):
        if mask.any():
            first = np.unique(rows.codes, return_index=True)[1]
            at = [int(row) for row in first if mask[rows.codes[row]]]
            wanted = f"expected {policies.min_length} or more"
            places = rows.faults(kind, np.asarray(at), lambda row: f"{observed[rows.codes[row]]} values are known; {wanted}")  # noqa: B023
            faults.add(kind, fate, places, count=int(mask.sum()))
    if policies.short == "drop":
        return placed.take(~(short | unobserved)[rows.codes])
    return placed


def stored_values(placed: Placed, stored: Panel) -> tuple[Values, NDArray[np.bool_]]:
    """What is stored at the position of each row [N], and whether the stored series reaches there [N]."""
    codes, index = placed.rows.codes, {series: b for b, series in enumerate(stored.ids)}
    begin, end = stored_span(placed.rows.ids, stored)
    inside = (placed.positions >= begin[codes]) & (placed.positions <= end[codes])
    series = np.asarray([index.get(series, 0) for series in placed.rows.ids], dtype=np.int64)
    old = np.full(len(codes), np.nan)
    chosen = codes[inside]
    old[inside] = stored.values[stored.offsets[series[chosen]] + placed.positions[inside] - begin[chosen]]
    return old, inside


def check_ids(ids: tuple[str, ...], faults: Faults) -> None:
    """Warns of ids that a reader would take for one."""
    spellings: dict[str, list[str]] = {}
    for series in ids:
        key = " ".join(unicodedata.normalize("NFKC", series).casefold().split())
        spellings.setdefault(key, []).append(series)
    alike = [names for names in spellings.values() if len(names) > 1]
    if alike:
        places = [Fault("similar_id", names[0], "", 0, f"stands beside {names[1]!r}; they are kept apart") for names in alike]
        faults.add("similar_id", "warned", places)


def check_constants(panel: Panel, touched: set[str], faults: Faults) -> None:
    """Warns of series whose every value is the same."""
    if not len(panel):
        return
    with np.errstate(invalid="ignore"):
        low, high = (edge.reduceat(panel.values, panel.offsets[:-1]) for edge in (np.fmin, np.fmax))
    observed = np.add.reduceat((~np.isnan(panel.values)).astype(np.int64), panel.offsets[:-1])
    chosen = [b for b in np.flatnonzero((low == high) & (observed > 1)) if panel.ids[b] in touched]
    if chosen:
        places = [Fault("constant", panel.ids[b], "", 0, f"every value is {low[b]:g}") for b in chosen]
        faults.add("constant", "warned", places)


def _counted(missing: int) -> str:
    return "1 position is missing" if missing == 1 else f"{missing:,} positions are missing"
