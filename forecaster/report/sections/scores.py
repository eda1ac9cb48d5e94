"""Who forecasts best, how sure that is, and where errors are made."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from forecaster.report.content import Block, Picture, Section, Table, Words
from forecaster.report.excerpts import Case, by_turn, calibration, read_case, telling_series, told_times
from forecaster.report.pictures import (
    bars_picture,
    calibration_picture,
    dots_picture,
    fan_picture,
    lines_picture,
    number,
)
from forecaster.report.subject import Evaluation, Subject

NAMES = {"owa": "OWA", "mase": "MASE", "smape": "sMAPE", "wql": "WQL", "msis": "MSIS", "mae": "MAE", "rmse": "RMSE"}
COLUMNS = ("owa", "mase", "smape", "wql", "msis")
MOST_DRAWN = 12  # forecasters in one picture


def leaderboard(subject: Subject) -> Section:
    """Everyone's scores, who may be the best, and what follows."""
    judged = subject.judged
    if judged is None:
        return Section("leaderboard", "Leaderboard", (_missing("The run has not been scored yet.", subject),))
    blocks: list[Block] = [_standing(subject, judged), _scores_table(subject, judged), *_significance_words(judged)]
    if subject.evaluation and subject.actuals:
        blocks.append(Words("Scored against the values that came after the training, by the weights that had seen all before:"))
        blocks.append(_scores_table(subject, subject.actuals))
    return Section("leaderboard", "Leaderboard", tuple(blocks))


def _standing(subject: Subject, judged: Evaluation) -> Picture:
    measure, rows = judged.measure, [row for row in judged.rows if row.get(judged.measure) is not None]
    shown = rows[:MOST_DRAWN]
    values = {short(row["forecaster"]): float(row[measure]) for row in shown}
    best = [
        short(row["forecaster"]) for row in shown if row.get("in_confidence_set") or row["forecaster"] == judged.summary["winner"]
    ]
    label = f"{NAMES[measure]}, lower is better" + (", dashed: the yardstick naive2" * (measure == "owa"))
    left_out = f" The first {MOST_DRAWN} of {len(rows)} are drawn." if len(rows) > MOST_DRAWN else ""
    full = "Full dots may be the best, as far as the data tell." if any(row.get("in_confidence_set") for row in rows) else ""
    table = Table.of(("forecaster", NAMES[measure]), [(str(row["forecaster"]), number(row[measure])) for row in rows])
    return Picture.of(
        "standing",
        f"{NAMES[measure]} of each forecaster",
        lambda: dots_picture(values, ours=subject.ours, best=best, reference=1.0 if measure == "owa" else None, what=label),
        caption=f"{full}{left_out}".strip(),
        table=table,
    )


def _scores_table(subject: Subject, judged: Evaluation) -> Table:
    found = {row["forecaster"]: row for row in _tests(judged).get("forecasters", ())}
    is_tested = any(row.get("p_value") is not None for row in found.values())
    titles = ["forecaster", *(NAMES[name] for name in COLUMNS), "80 % holds", "95 % holds"]
    titles += ["may be best", "p", "mean rank"] if is_tested else []
    rows = []
    for row in judged.rows:
        name = str(row["forecaster"])
        cells = [name, *(_cell(row.get(measure)) for measure in COLUMNS)]
        cells += [_percent(row.get("coverage_80")), _percent(row.get("coverage_95"))]
        if is_tested:
            test = found.get(name, {})
            cells += ["yes" if test.get("in_confidence_set") else "no" if test else "–"]
            cells += [_p(test.get("p_value")), _cell(test.get("mean_rank"), "{:.2f}")]
        rows.append(cells)
    marked = [place for place, row in enumerate(judged.rows) if row["forecaster"] == subject.ours]
    return Table.of(titles, rows, marked=marked)


def _significance_words(judged: Evaluation) -> list[Block]:
    tests, words = _tests(judged), list[Block]()
    failures = [f"{row['forecaster']} failed: {row['failure']}" for row in judged.rows if row.get("failure")]
    words += [Words(text) for text in failures]
    if not tests:
        words.append(Words("Whether the differences are more than luck was not tested.", _command("evaluate", judged)))
    elif any(row.get("p_value") is not None for row in tests.get("forecasters", ())):
        words.append(
            Words(
                f"p: of the best and this one being equally good, by Diebold-Mariano tests over {tests['units']:,} {tests['unit']}, "
                f"corrected for their number (Holm). May be best: in the set that holds the best forecaster with "
                f"{100 * (1 - tests['alpha']):g} % confidence (Hansen, Lunde, Nason 2011). Mean ranks differ where they lie "
                f"{number(tests['critical_difference'])} apart (Nemenyi)."
            )
        )
    return words


def series(subject: Subject) -> Section | None:
    """What was said of the series that are forecast best, typically and worst, and what came."""
    judged = subject.judged
    if judged is None:
        return None
    rival, measure = judged.rival(subject.ours), judged.series_measure
    blocks: list[Block] = []
    for name, (unique_id, score) in telling_series(judged.by_series, subject.ours, measure).items():
        case = read_case(judged.path("forecasts"), subject.panel, unique_id, ours=subject.ours, rival=rival)
        if case is not None:
            badge = f"{name} · {NAMES[measure]} {number(score)}"
            blocks.append(_case_picture(f"series-{name}", case, subject, rival=rival, badge=badge))
    if not blocks:
        return None
    told = f"Line: median of {subject.ours}; bands: its 80 % and 95 % intervals; dots: what came"
    told += f"; dashed: {rival}" if rival else ""
    words = Words(
        f"{told}. Best, typical and worst by the {NAMES[measure]} of {subject.ours}. Each forecast starts at a dotted line and knows nothing after it."
    )
    return Section("series", "Forecasts beside what came", (words, *blocks))


def _case_picture(name: str, case: Case, subject: Subject, *, rival: str | None, badge: str) -> Picture:
    rows = []
    for fan in case.fans:
        bounds = [case.quantile(fan, q) for q in (0.025, 0.1, 0.5, 0.9, 0.975)]
        for k, time in enumerate(told_times(subject.panel.frequency, fan.positions)):
            said = [number(bound[k]) if bound is not None else "–" for bound in bounds]
            other = [number(fan.rival[k]) if fan.rival is not None else "–"] if rival else []
            rows.append([time, number(fan.actuals[k]), *said, *other])
    titles = ["time", "actual", "2.5 %", "10 %", "median", "90 %", "97.5 %", *([rival] if rival else [])]
    frequency = subject.panel.frequency
    return Picture.of(
        name, case.unique_id, lambda: fan_picture(case, frequency), caption="", table=Table.of(titles, rows), badge=badge
    )


def errors(subject: Subject) -> Section | None:
    """Errors by how far ahead, and by when the forecast was made."""
    judged = subject.judged
    if judged is None:
        return None
    pictures = [_by_lead(subject, judged)]
    if judged.by_origin["origin"].nunique() > 1:
        pictures.append(_by_origin(subject, judged))
    return Section("errors", "Where errors are made", tuple(pictures))


def _by_lead(subject: Subject, judged: Evaluation) -> Picture:
    measure, rival = judged.series_measure, judged.rival(subject.ours)
    frame = judged.by_lead.pivot(index="lead", columns="forecaster", values=measure)
    names = _drawn(judged, subject.ours)
    lines = {short(name): frame[name].to_numpy() for name in names}
    leads = [float(lead) for lead in frame.index]
    labels = [f"lead {lead:g}" for lead in leads]
    table = Table.of(["lead", *names], [[f"{lead}", *(number(frame.at[lead, n]) for n in names)] for lead in frame.index])
    what = ("steps ahead", NAMES[measure])
    return Picture.of(
        "by-lead",
        "Error by lead",
        lambda: lines_picture(leads, lines, ours=subject.ours, rival=rival and short(rival), labels=labels, what=what),
        caption=_growth(subject.ours, lines[subject.ours]) if subject.ours in lines else "",
        table=table,
    )


def _by_origin(subject: Subject, judged: Evaluation) -> Picture:
    measure, rival, names = judged.series_measure, judged.rival(subject.ours), _drawn(judged, subject.ours)
    frame = by_turn(judged.by_origin, measure)
    scores = frame.pivot(index="turn", columns="forecaster", values="score")
    times = frame.drop_duplicates("turn").set_index("turn")
    told = {turn: _when(times.at[turn, "first"], times.at[turn, "last"]) for turn in scores.index}
    lines = {short(name): scores[name].to_numpy() for name in names}
    labels = [f"origin {turn}: {told[turn]}" for turn in scores.index]
    rows = [[told[turn], *(number(scores.at[turn, name]) for name in names)] for turn in scores.index]
    turns = [float(turn) for turn in scores.index]
    return Picture.of(
        "by-origin",
        "Error by origin",
        lambda: lines_picture(
            turns,
            lines,
            ours=subject.ours,
            rival=rival and short(rival),
            labels=labels,
            what=("origin, the earliest first", NAMES[measure]),
        ),
        caption=f"From {told[scores.index[0]]} to {told[scores.index[-1]]}.",
        table=Table.of(["origin", *names], rows),
    )


def calibrated(subject: Subject) -> Section | None:
    """Whether intervals hold what they promise."""
    judged = subject.judged
    if judged is None:
        return None
    rival = judged.rival(subject.ours)
    names = [name for name in (subject.ours, rival) if name]
    frame = calibration(judged.path("forecasts"), names)
    if frame.empty:
        words = Words("The forecasts have no pair of quantiles around the median, so there are no intervals to check.")
        return Section("calibration", "Calibration", (words,))
    parts = {short(name): part.sort_values("nominal") for name, part in frame.groupby("forecaster", sort=False)}
    curves = {name: (part["nominal"].to_numpy(), part["achieved"].to_numpy()) for name, part in parts.items()}
    rows = [
        [str(row.forecaster), *(_percent(value) for value in (row.nominal, row.achieved, row.below, row.above)), f"{row.pairs:,}"]
        for row in frame.sort_values(["forecaster", "nominal"]).itertuples()
    ]
    picture = Picture.of(
        "calibration-curve",
        "Promised and kept",
        lambda: calibration_picture(curves, ours=subject.ours, rival=rival and short(rival)),
        caption=_kept(subject.ours, curves[subject.ours]) if subject.ours in curves else "",
        table=Table.of(("forecaster", "asked for", "inside", "below", "above", "values"), rows),
    )
    return Section("calibration", "Calibration", (picture,))


def champions(subject: Subject) -> Section | None:
    """Who speaks for how many series."""
    judged = subject.judged
    if judged is None:
        return None
    table = judged.champions
    if table is None:
        words = Words("Champions, a forecaster for each series, have not been chosen for this run.", _command("evaluate", judged))
        return Section("champions", "Champions", (words,))
    counts = {short(str(name)): int(count) for name, count in table["forecaster"].value_counts().items()}
    ordered = table.sort_values(["margin", "unique_id"], ascending=[False, True])
    rows = [
        [
            str(row.unique_id),
            str(row.forecaster),
            number(row.loss),
            str(row.runner_up or "–"),
            number(row.margin),
            f"{row.origins}",
        ]
        for row in ordered.itertuples()
    ]
    titles = ("series", "champion", "loss to expect", "runner-up", "ahead by", "origins")
    details = Table.of(titles, rows, words=2)
    who = next(iter(counts))
    picture = Picture.of(
        "champion-counts",
        "Series of each champion",
        lambda: bars_picture(counts, ours=subject.ours, what="series"),
        caption=f"{who} speaks for {counts[who]:,} of {len(table):,} series. With little evidence the panel's best speaks.",
        table=details,
    )
    return Section("champions", "Champions", (picture,))


def short(name: str) -> str:
    """A forecaster's name as pictures have room for it.

    >>> short("gru"), short("x" * 30)
    ('gru', 'xxxxxxxxxxxxxxxxxxx…')
    """
    return name if len(name) <= 20 else f"{name[:19]}…"


def _drawn(judged: Evaluation, ours: str) -> list[str]:
    """Who is drawn: the first few, and ours."""
    names = [str(row["forecaster"]) for row in judged.rows if row.get(judged.measure) is not None]
    first = names[:MOST_DRAWN]
    return first if ours in first or ours not in names else [*first[:-1], ours]


def _growth(ours: str, line: Any) -> str:
    known = line[np.isfinite(line)]
    if len(known) < 2 or not known[0] > 0:
        return ""
    return f"{ours}: {number(known[0])} at the first lead, {number(known[-1])} at the last."


def _kept(ours: str, curve: tuple[Any, Any]) -> str:
    nominal, achieved = curve
    worst = int(np.argmax(np.abs(achieved - nominal)))
    gap = 100 * float(achieved[worst] - nominal[worst])
    if abs(gap) < 2:
        return f"Intervals of {ours} hold what they promise, to 2 points."
    side = "narrow" if gap < 0 else "wide"
    return f"Intervals of {ours} are too {side} by up to {abs(gap):.0f} points: {_percent(achieved[worst])} where {_percent(nominal[worst])} was asked for."


def _when(first: Any, last: Any) -> str:
    told = [str(time).removesuffix(" 00:00:00") for time in (first, last)]
    return told[0] if told[0] == told[1] else f"{told[0]} to {told[1]}"


def _tests(judged: Evaluation) -> Mapping[str, Any]:
    return dict(judged.summary.get("significance") or {})


def _missing(text: str, subject: Subject) -> Words:
    return Words(text, f"forecast evaluate {subject.run}")


def _command(command: str, judged: Evaluation) -> str:
    tail = " --actuals FILE" if judged.is_of_actuals else ""
    return f"forecast {command} {judged.folder.parent.name}{tail}"


def _cell(value: Any, form: str = "") -> str:
    if value is None:
        return "–"
    return form.format(value) if form else number(float(value)) if abs(value) >= 0.1 or value == 0 else f"{value:.4f}"


def _percent(share: Any) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _p(value: Any) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
