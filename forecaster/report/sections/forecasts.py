"""What was said of some series beside what came, where errors are made, and whether intervals hold."""

from typing import Any

import numpy as np
import pandas as pd

from forecaster.report.content import Block, Picture, Section, Table, Words
from forecaster.report.excerpts import Case, by_turn, calibration, read_case, telling_series, told_times
from forecaster.report.pictures import NARROW, SLIM, calibration_picture, fan_picture, lines_picture, number
from forecaster.report.sections.leaderboard import NAMES, drawn_names, percent, short_names
from forecaster.report.subject import Evaluation, Subject
from forecaster.series import Values


def series(subject: Subject) -> Section | None:
    """What was said of the series that are forecast best, typically and worst, and what came."""
    judged = subject.scored
    if judged is None:
        return None
    rival, measure = judged.rival(subject.ours), judged.series_measure
    telling = telling_series(judged.by_series, subject.ours, measure)
    blocks, bands = list[Block](), ""
    for name, (unique_id, score) in telling.items():
        case = read_case(judged.path("forecasts"), subject.panel, unique_id, ours=subject.ours, rival=rival)
        if case is not None:
            badge = f"{name + ' · ' if len(telling) > 1 else ''}{NAMES[measure]} {number(score)}"
            bands = " and ".join(f"{100 * (high - low):g} %" for low, high in reversed(case.bands))
            width = SLIM if len(telling) > 1 else NARROW
            blocks.append(_case_picture(f"series-{name}", case, subject, rival=rival, badge=badge, width=width))
    if not blocks:
        return None
    told = f"Line: median of {subject.ours}; " + (f"bands: its {bands} intervals; " if bands else "") + "dots: what came"
    told += f"; dashed: {rival}." if rival else "."
    told += f" {', '.join(telling).capitalize()} by the {NAMES[measure]} of {subject.ours}." if len(telling) > 1 else ""
    words = Words(f"{told} Each forecast starts at a dotted line and knows nothing after it.")
    return Section("series", "Forecasts beside what came", (words, *blocks))


def _case_picture(name: str, case: Case, subject: Subject, *, rival: str | None, badge: str, width: float) -> Picture:
    rows, shown = [], sorted({0.5, *(q for band in case.bands for q in band)})
    for fan in case.fans:
        bounds = [case.quantile(fan, q) for q in shown]
        for k, time in enumerate(told_times(subject.panel.frequency, fan.positions)):
            said = [number(bound[k]) for bound in bounds]
            other = [number(fan.rival[k]) if fan.rival is not None else "–"] if rival else []
            rows.append([time, number(fan.actuals[k]), *said, *other])
    titles = ["time", "actual", *("median" if q == 0.5 else f"{100 * q:g} %" for q in shown), *([rival] if rival else [])]
    frequency = subject.panel.frequency
    return Picture.of(
        name,
        case.unique_id,
        lambda: fan_picture(case, frequency, width=width),
        caption="",
        table=Table.of(titles, rows),
        badge=badge,
    )


def errors(subject: Subject) -> Section | None:
    """Errors by how far ahead, and by when the forecast was made."""
    judged = subject.scored
    if judged is None:
        return None
    pictures = [_by_lead(subject, judged)]
    if len(judged.by_origin["origin"].unique()) > 1:
        pictures.append(_by_origin(subject, judged))
    return Section("errors", "Where errors are made", tuple(pictures))


def _by_lead(subject: Subject, judged: Evaluation) -> Picture:
    table = judged.by_lead.pivot_table(judged.series_measure, index="lead", columns="forecaster", dropna=False)
    labels = [f"lead {lead}" for lead in table.index]
    line = table[subject.ours].dropna().to_numpy() if subject.ours in table else np.empty(0)
    caption = f"{subject.ours}: {number(line[0])} at the first lead, {number(line[-1])} at the last." if len(line) > 1 else ""
    return _lines(
        subject, judged, table, name="by-lead", title="Error by lead", labels=labels, axis="steps ahead", caption=caption
    )


def _by_origin(subject: Subject, judged: Evaluation) -> Picture:
    frame = by_turn(judged.by_origin, judged.series_measure)
    table = frame.pivot_table("score", index="turn", columns="forecaster", dropna=False)
    first = frame.groupby("turn")["first"].min()
    last = frame.groupby("turn")["last"].max()
    labels = [_when(a, b) for a, b in zip(first, last, strict=True)]
    caption = f"The first: {labels[0]}; the last: {labels[-1]}. Means over the series."
    axis = "origin, the earliest first"
    return _lines(subject, judged, table, name="by-origin", title="Error by origin", labels=labels, axis=axis, caption=caption)


def _lines(
    subject: Subject,
    judged: Evaluation,
    table: pd.DataFrame,
    *,
    name: str,
    title: str,
    labels: list[str],
    axis: str,
    caption: str,
) -> Picture:
    """A line for each forecaster, a column of the table."""
    names, rival = drawn_names(judged, subject.ours), judged.rival(subject.ours)
    names = {one: told for one, told in names.items() if one in table}
    lines = {told: table[one].to_numpy() for one, told in names.items()}
    x, what = [float(at) for at in table.index], (axis, NAMES[judged.series_measure])
    ours, other = names.get(subject.ours, subject.ours), names.get(rival or "")
    rows = [[label, *(number(line[k]) for line in lines.values())] for k, label in enumerate(labels)]
    return Picture.of(
        name,
        title,
        lambda: lines_picture(x, lines, ours=ours, rival=other, labels=labels, what=what),
        caption=caption,
        table=Table.of([name.removeprefix("by-"), *names], rows),
    )


def calibrated(subject: Subject) -> Section | None:
    """Whether intervals hold what they promise."""
    judged = subject.scored
    if judged is None:
        return None
    rival = judged.rival(subject.ours)
    asked = [name for name in (subject.ours, rival) if name]
    frame = calibration(judged.path("forecasts"), asked)
    if frame.empty:
        words = Words("The forecasts have no pair of quantiles around the median, so there are no intervals to check.")
        return Section("calibration", "Calibration", (words,))
    names = short_names(asked)
    parts = {names[str(name)]: part.sort_values("nominal") for name, part in frame.groupby("forecaster", sort=False)}
    curves = {name: (part["nominal"].to_numpy(), part["achieved"].to_numpy()) for name, part in parts.items()}
    shares = ("nominal", "achieved", "below", "above")
    rows = [
        [str(row["forecaster"]), *(percent(row[share]) for share in shares)]
        for part in parts.values()
        for row in part.to_dict("records")
    ]
    ours, scored = names[subject.ours], judged.row(subject.ours).get("pairs") or 0
    told = [_kept(subject.ours, *curves[ours])] if ours in curves else []
    count = int(frame["pairs"].max())
    told.append(f"Counted on {count:,} values{', those whose forecasts were kept' if count < scored else ''}.")
    picture = Picture.of(
        "calibration-curve",
        "Promised and kept",
        lambda: calibration_picture(curves, ours=ours, rival=names.get(rival or "")),
        caption=" ".join(told),
        table=Table.of(("forecaster", "asked for", "inside", "below", "above"), rows),
    )
    return Section("calibration", "Calibration", (picture,))


def _kept(ours: str, nominal: Values, achieved: Values) -> str:
    worst = int(np.argmax(np.abs(achieved - nominal)))
    gap = 100 * float(achieved[worst] - nominal[worst])
    if abs(gap) < 2:
        return f"Intervals of {ours} hold what they promise, to 2 points."
    kept = f"{percent(float(achieved[worst]))} where {percent(float(nominal[worst]))} was asked for"
    return f"Intervals of {ours} are too {'narrow' if gap < 0 else 'wide'} by up to {abs(gap):.0f} points: {kept}."


def _when(first: Any, last: Any) -> str:
    told = [str(time).removesuffix(" 00:00:00") for time in (first, last)]
    return told[0] if told[0] == told[1] else f"{told[0]} to {told[1]}"
