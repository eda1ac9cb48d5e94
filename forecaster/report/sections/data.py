"""What was trained on what, what was wrong with the data, and how to get the same again."""

from typing import Any

import numpy as np

from forecaster.report.content import Block, Facts, Listing, Section, Table, Tile, Words
from forecaster.report.excerpts import told_times
from forecaster.report.pictures import number
from forecaster.report.sections.leaderboard import NAMES
from forecaster.report.subject import Subject

STEPS = {"h": "hourly", "D": "daily", "B": "every business day", "W": "weekly", "M": "monthly", "Q": "quarterly", "Y": "yearly"}


def trained(subject: Subject) -> Facts:
    """What was trained on what, in a few lines."""
    panel, facts, config = subject.panel, subject.facts, subject.config
    first, last = told_times(panel.frequency, np.array([panel.starts.min(), panel.ends.max()]))
    model = config["model"]
    size = f"{model['hidden_size']} units" + (f" in {model['layers']} layers" if model["layers"] > 1 else "")
    members = f", {model['members']} members averaged" if model["members"] > 1 else ""
    judged = subject.judged
    pairs = [
        (
            "Data",
            f"{facts['panel']}: {len(panel):,} series, {step_words(subject)}, {first} to {last}, {len(panel.values):,} values",
        ),
        ("Network", f"{subject.ours}, {size}{members}, {subject.parameters:,} weights"),
        ("Training", _training_words(subject)),
    ]
    if judged is not None:
        rows = judged.row(subject.ours) or (judged.rows[0] if judged.rows else {})
        pairs.append(("Scored", _scored_words(subject, rows)))
    return Facts(tuple(pairs))


def _training_words(subject: Subject) -> str:
    facts = subject.facts
    told = f"without the last {facts['holdout']} values of each series, which score it" if facts["holdout"] else "on every value"
    told += ", then on every value" if subject.is_refit and facts["holdout"] else ""
    return f"{told}; {facts['seconds']:,.0f} s on {str(facts['created'])[:10]}"


def _scored_words(subject: Subject, row: Any) -> str:
    judged = subject.judged
    assert judged is not None
    count = int(judged.summary.get("origins", 1))
    where = "after the end of training" if judged.is_of_actuals else f"from {count} rolling origin{'' if count == 1 else 's'}"
    values = f", {row['pairs']:,} values" if row.get("pairs") else ""
    return f"{subject.facts['horizon']} steps ahead {where}{values}; MASE scaled by lag {judged.summary.get('season_length')}"


def tiles(subject: Subject) -> tuple[Tile, ...]:
    """The figures that a reader who reads nothing else should see."""
    judged = subject.judged
    if judged is None:
        return ()
    measure, winner = judged.measure, judged.summary.get("winner")
    shown, best, mine = [], judged.row(str(winner)), judged.row(subject.ours)
    if best:
        shown.append(Tile(number(best[measure]), f"{NAMES[measure]} of {winner}", "the best"))
    if mine.get(measure) is not None and winner != subject.ours:
        place = 1 + [row["forecaster"] for row in judged.rows].index(subject.ours)
        shown.append(Tile(number(mine[measure]), f"{NAMES[measure]} of {subject.ours}", f"place {place} of {len(judged.rows)}"))
    elif winner == subject.ours and (rival := judged.rival(subject.ours)):
        shown.append(Tile(number(judged.row(rival)[measure]), f"{NAMES[measure]} of {rival}", "the next best"))
    if mine.get("coverage_80") is not None:
        shown.append(Tile(f"{100 * mine['coverage_80']:.0f} %", "inside the 80 % interval", f"of {subject.ours}"))
    if mine.get("pairs"):
        made = f"{mine['series']:,} series, {mine['origins']:,} origin{'' if mine['origins'] == 1 else 's'}"
        shown.append(Tile(f"{mine['pairs']:,}", "values forecast and scored", made))
    return tuple(shown)


def data(subject: Subject) -> Section:
    """Where the data come from, and what was wrong with them."""
    source, panel = subject.source, subject.panel
    lengths, missing = panel.lengths, int(np.isnan(panel.values).sum())
    pairs = [
        ("Files", ", ".join(str(file).rsplit("/", 1)[-1] for file in source.get("sources", ())) or "–"),
        ("Step", step_words(subject)),
        ("Time zone", str(panel.frequency.time_zone or "none")),
        ("Length of a series", f"{lengths.min():,} to {lengths.max():,}, median {np.median(lengths):,.0f}"),
        ("Without a value", f"{missing:,} of {len(panel.values):,} ({100 * missing / max(len(panel.values), 1):.2f} %)"),
    ]
    beside = [*source.get("known", ()), *source.get("static", ())]
    if beside:
        pairs.append(("Beside the values", ", ".join(beside)))
    blocks: list[Block] = [Facts(tuple(pairs))]
    if subject.faults:
        rows = [[name, f"{count:,}"] for name, count in subject.faults.items()]
        blocks += [Words("Found at the last ingest:"), Table.of(("fault", "count"), rows)]
    else:
        blocks.append(Words("No fault was found at the last ingest."))
    if source.get("fingerprint") != subject.facts["panel_fingerprint"]:
        blocks.append(Words("The panel was ingested again since the training; this page shows it as far as it reached then."))
    return Section("data", "Data", tuple(blocks))


def provenance(subject: Subject, *, made: str) -> Section:
    """What it takes to get the same again."""
    facts = subject.facts
    pairs = (
        ("Run", subject.run),
        ("Command", str(facts["command"]) or "–"),
        ("Seed", str(subject.config["seed"])),
        ("Trained", str(facts["created"])),
        ("Panel", f"{facts['panel']} {facts['panel_fingerprint']}"),
        ("Model", str(facts["model_fingerprint"])),
        ("Versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
        ("Page made", made),
    )
    return Section("provenance", "Provenance", (Facts(pairs), Listing("Configuration", subject.config_text)))


def step_words(subject: Subject) -> str:
    """How often there is a value, in words."""
    frequency = subject.panel.frequency
    if frequency.is_numbered:
        return "in numbered steps"
    stem = frequency.alias.split("-")[0].removesuffix("S").removesuffix("E") or frequency.alias
    return f"{STEPS[stem]} ({frequency.alias})" if stem in STEPS else f"every {frequency.alias}"
