"""Who forecasts best, how sure that is, and who speaks for which series."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from forecaster.report.content import Block, Picture, Section, Table, Words
from forecaster.report.pictures import bars_picture, dots_picture, number
from forecaster.report.subject import Evaluation, Subject

NAMES = {"owa": "OWA", "mase": "MASE", "smape": "sMAPE", "wql": "WQL", "msis": "MSIS", "mae": "MAE", "rmse": "RMSE"}
COLUMNS = ("owa", "mase", "smape", "wql", "msis")
MOST_DRAWN = 12  # forecasters in one picture
LONGEST_NAME = 16  # of a forecaster in a picture


def leaderboard(subject: Subject) -> Section:
    """Everyone's scores, who may be the best, and what follows."""
    judged = subject.judged
    if judged is None:
        return Section(
            "leaderboard", "Leaderboard", (Words("The run has not been scored yet.", f"forecast evaluate {subject.run}"),)
        )
    blocks: list[Block] = [_standing(subject, judged), _scores_table(subject, judged)] if judged.is_scored else []
    blocks += _gaps(judged)
    if subject.evaluation and subject.actuals:
        blocks.append(Words("Scored against the values that came after the training, by the weights that had seen all before:"))
        blocks.append(_scores_table(subject, subject.actuals))
    return Section("leaderboard", "Leaderboard", tuple(blocks))


def _standing(subject: Subject, judged: Evaluation) -> Picture:
    measure, rows = judged.measure, [row for row in judged.rows if row.get(judged.measure) is not None]
    names = drawn_names(judged, subject.ours)
    shown = [row for row in rows if row["forecaster"] in names]
    values = {names[row["forecaster"]]: float(row[measure]) for row in shown}
    is_told = any(row.get("may_be_best") is not None for row in rows)
    best = [names[row["forecaster"]] for row in shown if row.get("may_be_best") or not is_told]
    told = [f"{len(rows)} forecasters, the first {MOST_DRAWN} and {subject.ours} drawn."] if len(rows) > len(shown) else []
    told += ["Full dots may be the best, as far as the data tell; the tests tell hollow ones from the best."] if is_told else []
    lowest, table = float(rows[0][measure]), []
    for row in rows:
        above = float(row[measure]) / lowest - 1 if lowest > 0 else 0.0
        table.append((str(row["forecaster"]), number(row[measure]), f"{100 * above:.1f} %" if above else "–"))
    reference = subject.config["evaluation"]["reference"]
    return Picture.of(
        "standing",
        f"{NAMES[measure]} of each forecaster",
        lambda: dots_picture(
            values,
            ours=subject.ours,
            best=best,
            reference=1.0 if measure == "owa" else None,
            what=f"{NAMES[measure]}, lower is better" + (f"; dashed: {reference}" * (measure == "owa")),
        ),
        caption=" ".join([*told, *_tests_in_words(judged)]),
        table=Table.of(("forecaster", NAMES[measure], "above the best"), table),
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
        cells += [percent(row.get("coverage_80")), percent(row.get("coverage_95"))]
        if is_tested:
            test = found.get(name, {})
            cells += [_yes(test.get("may_be_best"))]
            cells += [_p(test.get("p_value")), _cell(test.get("mean_rank"), "{:.2f}")]
        rows.append(cells)
    marked = [place for place, row in enumerate(judged.rows) if row["forecaster"] == subject.ours]
    return Table.of(titles, rows, marked=marked)


def _tests_in_words(judged: Evaluation) -> list[str]:
    """What stands behind p-values and ranks; nothing where nothing was tested."""
    tests = _tests(judged)
    if not any(row.get("p_value") is not None for row in tests.get("forecasters", ())):
        return []
    said = [
        f"p is that of being as good as the best: Diebold-Mariano tests over {tests['units']:,} {tests['unit']}, corrected for "
        "their number (Holm).",
        f"The best is in a set that holds it with {100 * (1 - tests['alpha']):g} % confidence (Hansen, Lunde, Nason 2011).",
    ]
    distance = tests.get("critical_difference")
    return said if distance is None else [*said, f"Mean ranks differ where they lie {distance:.2f} apart (Nemenyi)."]


def _gaps(judged: Evaluation) -> list[Block]:
    """Who failed, and what was not tested."""
    gaps: list[Block] = [Words(f"{row['forecaster']} failed: {row['failure']}") for row in judged.rows if row.get("failure")]
    if not _tests(judged):
        gaps.append(Words("Whether the differences are more than luck was not tested.", evaluate_command(judged)))
    return gaps


def champions(subject: Subject) -> Section | None:
    """Who speaks for how many series."""
    judged = subject.judged
    if judged is None:
        return None
    table = judged.champions
    if table is None:
        words = Words(
            "Champions, a forecaster for each series, have not been chosen for this run.", f"forecast evaluate {subject.run}"
        )
        if not subject.facts["holdout"]:
            words = Words("The run held nothing back to choose champions on; train with evaluation.origins of 1 or more.")
        return Section("champions", "Champions", (words,))
    counts = table["forecaster"].value_counts()
    names = short_names([str(name) for name in counts.index])
    shown = {names[str(name)]: int(count) for name, count in counts.items()}
    ordered = table.sort_values(["margin", "unique_id"], ascending=[False, True])
    rows = [
        [
            *(_name(row[key]) for key in ("unique_id", "forecaster", "runner_up")),
            number(row["loss"]),
            number(row["margin"]),
            str(row["origins"]),
        ]
        for row in ordered.to_dict("records")
    ]
    titles = ("series", "champion", "runner-up", "loss to expect", "ahead by", "origins")
    told = str((judged.summary.get("champions") or {}).get("told", ""))
    picture = Picture.of(
        "champion-counts",
        "Series of each champion",
        lambda: bars_picture(shown, ours=subject.ours, what="series"),
        caption=told or f"Each of {len(table):,} series has the forecaster that is expected to lose least on it.",
        table=Table.of(titles, rows, words=3),
    )
    return Section("champions", "Champions", (picture,))


def drawn_names(judged: Evaluation, ours: str) -> dict[str, str]:
    """Who is drawn, the first few and ours, the best first, each with its name as pictures have room for it."""
    names = [str(row["forecaster"]) for row in judged.rows if row.get(judged.measure) is not None]
    first = names[:MOST_DRAWN]
    return short_names(first if ours in first or ours not in names else [*first[:-1], ours])


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names cut to what pictures have room for, no two of them alike.

    >>> short_names(["gru", "x" * 30, "x" * 31])
    {'gru': 'gru', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx': 'xxxxxxxxxxxxx…', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx': 'xxxxxxxxxxxxx… 2'}
    """
    told: dict[str, str] = {}
    for name in names:
        cut = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}…"
        same = sum(one.startswith(cut) for one in told.values()) if cut != name else 0
        told[name] = f"{cut} {same + 1}" if same else cut
    return told


def percent(share: float | None) -> str:
    """A share in per cent, a dash for none."""
    return "–" if share is None else f"{100 * share:.1f} %"


def evaluate_command(judged: Evaluation) -> str:
    """What was typed for this evaluation."""
    return f"forecast evaluate {judged.folder.parent.name}" + (" --actuals FILE" if judged.is_of_actuals else "")


def _tests(judged: Evaluation) -> Mapping[str, Any]:
    return dict(judged.summary.get("significance") or {})


def _cell(value: Any, form: str = "") -> str:
    if value is None:
        return "–"
    return form.format(value) if form else number(float(value)) if abs(value) >= 0.1 or value == 0 else f"{value:.4f}"


def _yes(claim: Any) -> str:
    return "–" if claim is None else "yes" if claim else "no"


def _p(value: Any) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _name(cell: object) -> str:
    return "–" if pd.isna(cell) else str(cell)  # type: ignore[call-overload]
