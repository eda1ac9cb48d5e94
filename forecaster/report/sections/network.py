"""What the network does inside, and which of its parts are worth it."""

import math
from typing import Any

import numpy as np

from forecaster.report.content import Block, Picture, Section, Table, Words
from forecaster.report.excerpts import told_times
from forecaster.report.pictures import dots_picture, number, signed
from forecaster.report.strips import half_lives_picture, strip_picture
from forecaster.report.subject import Gates, Inside, Subject

WIDE = 860.0
ROWS = 40  # of a strip's table
GATE_WORDS = {
    "z": "z, share of the candidate that enters",
    "r": "r, share of the past that the candidate sees",
    "f": "1 - f, share of the cell that goes",
    "i": "i, share of the candidate that enters",
    "o": "o, share of the cell that is shown",
}


def gates(subject: Subject) -> Section:
    """Gates over time, under the series that they belong to, and how fast units forget."""
    inside = subject.inside
    if inside is None:
        said = f"{subject.ours} has no gates to look at."
        return Section("gates", "Inside the network", (Words(said),))
    shown = [_strip(place, found, subject) for place, found in enumerate(inside.gates)]
    words = Words(
        "Each row of a strip is a unit, each column a step; bright is open. A unit whose z stays dark keeps what it holds; one "
        "that is always bright forgets at once, like a smoother with alpha near 1."
    )
    return Section("gates", "Inside the network", (words, *shown, *_half_lives(inside, subject)))


def _strip(place: int, found: Gates, subject: Subject) -> Picture:
    frequency = subject.panel.frequency
    tables = {GATE_WORDS.get(name, name): table for name, table in found.tables.items()}
    times, step = told_times(frequency, found.positions), math.ceil(len(found.positions) / ROWS)
    rows = [
        [times[k], number(found.values[k]), *(f"{table[:, k : k + step].mean():.2f}" for table in tables.values())]
        for k in range(0, len(times), step)
    ]
    titles = ["time", "value", *(f"{name}, mean" for name in found.tables)]
    half = max(len(times) // 3, min(len(times), 60))

    def late(table: Any) -> Any:
        return table[..., -half:]

    return Picture.of(
        f"strip-{place}",
        found.unique_id,
        lambda: strip_picture(
            frequency, late(found.positions), late(found.values), {name: late(table) for name, table in tables.items()}
        ),
        caption=f"{len(times)} steps on a wide screen, the last {half} of them on a narrow one; the slowest units at the bottom.",
        table=Table.of(titles, rows),
        wide=lambda: strip_picture(frequency, found.positions, found.values, tables, width=WIDE),
    )


def _half_lives(inside: Inside, subject: Subject) -> list[Block]:
    finite = inside.half_lives[np.isfinite(inside.half_lives)]
    if not len(finite):
        return []
    quantiles = (0.1, 0.25, 0.5, 0.75, 0.9)
    rows = []
    for q in quantiles:
        steps, alpha = (
            float(np.quantile(part, at, method="lower")) for part, at in ((inside.half_lives, q), (inside.alphas, 1 - q))
        )
        rows.append([f"{100 * q:g} %", f"{steps:.2f}" if math.isfinite(steps) else "∞", number(alpha)])
    seasons, longest = subject.panel.frequency.season_lengths, float(min(finite.max(), 4096))
    middle = float(np.median(inside.half_lives))
    picture = Picture.of(
        "half-lives",
        "How fast units forget",
        lambda: half_lives_picture(inside.half_lives, seasons=seasons, longest=longest),
        caption=f"Half of the {len(inside.half_lives):,} units have a half-life of {middle:.2g} steps or less.",
        table=Table.of(("units up to", "half-life in steps", "alpha"), rows),
    )
    of = f" Counted over {inside.series:,} of {len(subject.panel):,} series." if inside.series < len(subject.panel) else ""
    return [picture, *(Words(f"{text}{of if k == 0 else ''}") for k, text in enumerate(inside.said))]


def ladder(subject: Subject) -> Section:
    """What each rung of the ladder is worth, as the experiment has it."""
    found = subject.ablation
    if found is None:
        text = "Whether this network's gates earn anything on this panel is decided by training every rung of the ladder."
        command = f"forecast ablate {subject.path}/config.yaml --panel {subject.facts['panel']}"
        again = f"forecast report {subject.run} --ablation FOLDER"
        return Section("ladder", "The ladder", (Words(text, command), Words("Then make this page again:", again)))
    blocks: list[Block] = [Words(str(found["answer"]), is_lead=True)]
    if found.get("panel_fingerprint") != subject.facts["panel_fingerprint"]:
        blocks.append(Words(f"The experiment was made on another panel, {found.get('panel')} {found.get('panel_fingerprint')}."))
    blocks += [_ladder_picture(found), _ladder_table(found, subject)]
    answers = [[str(one["question"]), str(one["answer"])] for one in found.get("questions", ())]
    return Section("ladder", "The ladder", (*blocks, *([Table.of(("question", "answer"), answers, words=2)] if answers else [])))


def _ladder_picture(found: Any) -> Picture:
    rows = [row for row in found["ladder"] if row["gain_on_best"]["share"] is not None]
    values = {str(row["forecaster"]): -float(row["gain_on_best"]["share"]) for row in rows}
    spans = {
        str(row["forecaster"]): (-float(row["gain_on_best"]["high"]), -float(row["gain_on_best"]["low"]))
        for row in rows
        if row["gain_on_best"]["low"] is not None and row["forecaster"] != found.get("best")
    }
    best = [str(row["forecaster"]) for row in rows if row.get("in_confidence_set")]
    told = [[name, signed(value), *_span(spans.get(name))] for name, value in values.items()]
    seeds, confidence = len(found.get("seeds", ())), 100 * float(found.get("confidence", 0.95))
    return Picture.of(
        "rungs",
        "Loss beside that of the best rung",
        lambda: dots_picture(
            values,
            ours=str(found.get("recommended", "")),
            best=best,
            reference=0.0,
            what=f"{found.get('measure', 'loss').upper()} above the best rung's",
            intervals=spans,
            is_share=True,
        ),
        caption=f"{seeds} seeds each; lines are {confidence:g} % intervals. Full dots may be the best; in colour: recommended.",
        table=Table.of(("rung", "above the best", "from", "to"), told),
    )


def _span(span: tuple[float, float] | None) -> list[str]:
    return [signed(end) for end in span] if span else ["–", "–"]


def _ladder_table(found: Any, subject: Subject) -> Table:
    columns = {
        "mase": "MASE",
        "wql": "WQL",
        "parameters": "weights",
        "train_seconds": "training, s",
        "step_microseconds": "step, µs",
    }
    rows = []
    for row in found["ladder"]:
        cells = ["–" if row.get(name) is None else _count(row[name], name) for name in columns]
        rows.append([str(row["forecaster"]), *cells])
    marked = [place for place, row in enumerate(found["ladder"]) if row["forecaster"] == subject.ours]
    return Table.of(("rung", *columns.values()), rows, marked=marked)


def _count(value: float, name: str) -> str:
    return f"{value:,.0f}" if name == "parameters" else f"{value:.4f}" if name == "wql" else number(float(value))
