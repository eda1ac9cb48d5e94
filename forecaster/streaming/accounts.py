"""What a stream writes down of a micro-batch besides its state: dead letters with their reasons, and the counters."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forecaster.frequency import Positions
from forecaster.series import Values
from forecaster.streaming.arrivals import Arrivals
from forecaster.streaming.labels import Labels
from forecaster.streaming.lateness import Arrival, Bounds, DeadLetter, explain_refusal
from forecaster.streaming.live import FeedPosition, LiveForecast, Progress
from forecaster.streaming.stepping import Indices

PLACES = 32  # sources whose place is remembered
MISSING = "missing"  # observations that were stepped without a value
BEHIND = "behind"  # observations that were next for their series, when another was further on
FORECASTS = "forecasts"
NOT_FINITE = "not_finite"  # forecasts with a number that is none, written as null


def letters_of(
    arrivals: Arrivals,
    turn: Indices,
    codes: NDArray[np.int8],
    last: Positions,
    *,
    labels: Labels,
    bounds: Bounds,
) -> list[DeadLetter]:
    """Dead letters for observations `turn` [N] that were not stepped, given what they were held against, `last` [N]."""
    if not len(turn):
        return []
    told, before = labels.read(arrivals.positions[turn]), labels.read(last)
    steps = arrivals.positions[turn] - last
    rows = zip(turn.tolist(), map(Arrival, codes), told, before, steps.tolist(), strict=True)
    letters = []
    for i, arrival, label, last_label, ahead in rows:
        reason = explain_refusal(arrival, label, last_label, ahead, bounds=bounds)
        text = f"series {arrivals.ids[i]!r}: {reason}"
        letters.append(DeadLetter(int(arrivals.lines[i]), arrival, text, arrivals.original(i)))
    return letters


def progress_after(
    before: Progress, arrivals: Arrivals, codes: NDArray[np.int8], live: LiveForecast, *, dead_letter_bytes: int, series: int
) -> Progress:
    """The progress that a micro-batch makes, its observations being what `codes` [N] say."""
    rejected = np.bincount([letter.arrival for letter in arrivals.rejected], minlength=len(Arrival))
    tally = rejected + np.bincount(codes, minlength=len(Arrival))
    counts = {arrival.label: int(tally[arrival]) for arrival in Arrival}
    ahead = arrivals.positions[codes <= Arrival.UNKNOWN]
    newest = np.maximum.accumulate(np.concatenate([[before.newest], ahead]))
    counts |= {
        MISSING: int(np.isnan(arrivals.values[codes < Arrival.DUPLICATE]).sum()),
        BEHIND: int((ahead < newest[:-1]).sum()),
        FORECASTS: len(live),
        NOT_FINITE: _count_not_finite(live.forecast.values),
    }
    total = {name: before.counts.get(name, 0) + count for name, count in counts.items()}
    return replace(
        before,
        feed=arrivals.feed,
        counts=total,
        dead_letter_bytes=dead_letter_bytes,
        series=series,
        newest=int(newest[-1]),
    )


def _count_not_finite(values: Values) -> int:
    """How many forecasts [B, L, Q] have a number that is none; mostly not one, which a plain look tells three times as fast."""
    is_finite = np.isfinite(values)
    return 0 if is_finite.all() else int((~is_finite).any(axis=(1, 2)).sum())


def progress_at(before: Progress, *, source: str, output: str, is_new: bool) -> Progress:
    """The progress of a stream that reads and writes there from now on; what has no name, a pipe, changes nothing.

    A source that was read before is read on, another one from its beginning, and so is one that `is_new`.
    """
    progress = before
    if is_new or (source and before.source and source != before.source):
        places = {name: place for name, place in before.places.items() if name != source}
        if before.source != source:
            places[before.source] = [before.feed.offset, before.feed.token]
        offset, token = (0, "") if is_new else before.places.get(source, (0, ""))
        feed = FeedPosition(before.feed.lines, before.feed.checksum, int(offset), str(token))
        progress = replace(progress, feed=feed, places=dict(list(places.items())[-PLACES:]))
    if output and output != before.output:
        progress = replace(progress, output=output, output_bytes=0)
    return replace(progress, source=source or before.source)
