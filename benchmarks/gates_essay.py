"""The tables and pictures of `docs/gates.md`, from what `gates.py` and a run left under --home.

    python benchmarks/gates_essay.py --home gates --run gates_hourly --series H1 --at 580

Nothing is computed here but what is shown: tables are printed in Markdown, pictures written to docs/images.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from gates import CHOSEN
from panels import forecast

IMAGES = Path("docs/images")
COLOURS = dict(zip(CHOSEN, ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#aa3377"), strict=True))  # Tol's bright, for all eyes
LADDER = ("smoothing", "adaptive", "no_carry", "gru_no_reset", "gru", "gru_reset_before", "rnn", "lstm")
REFERENCES = ("base", "ses", "seasonal_naive")


def found_in(home: Path) -> dict[str, dict[str, Any]]:
    """What was found on each panel, with the most seeds."""
    all_found = [json.loads(path.read_text()) for path in home.glob("runs/.ablations/*/ablation.json")]
    all_found.sort(key=lambda found: (len(found["seeds"]), found["created"]))
    best = {found["panel"]: found for found in all_found}
    return {name: best[name] for name in CHOSEN if name in best}


def row_of(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in found["ladder"] if row["forecaster"] == name)


def scores_table(panels: dict[str, dict[str, Any]]) -> list[str]:
    """MASE of every rung on every panel, and how far it is above the best."""
    lines = ["| | " + " | ".join(CHOSEN[name] for name in panels) + " |", "|---|" + "---|" * len(panels)]
    for name in (*LADDER, *REFERENCES):
        cells = []
        for found in panels.values():
            row = row_of(found, name)
            above = -100 * row["gain_on_best"]["share"]
            cells.append(f"**{row['mase']:.3f}**" if name == found["best"] else f"{row['mase']:.3f} ({above:+.1f} %)")
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    facts = [f"{found['units']} {found['unit']}, {len(found['seeds'])} seeds" for found in panels.values()]
    return [*lines, "| over | " + " | ".join(facts) + " |"]


def answers_table(panels: dict[str, dict[str, Any]]) -> list[str]:
    """Each question's answer on every panel: its first word, the gain and its interval."""
    asked = [one["question"] for one in next(iter(panels.values()))["questions"]]
    lines = ["| | " + " | ".join(CHOSEN[name] for name in panels) + " |", "|---|" + "---|" * len(panels)]
    for question in asked:
        cells = []
        for found in panels.values():
            one = next(one for one in found["questions"] if one["question"] == question)
            gain = one["gain"]
            word = one["answer"].split(":")[0].replace("Cannot be told", "?")
            cells.append(f"{word}: {_signed(gain['share'])} ({_signed(gain['low'])} to {_signed(gain['high'])})")
        lines.append(f"| {question} | " + " | ".join(cells) + " |")
    return lines


def costs_table(found: dict[str, Any]) -> list[str]:
    """What each rung costs on one panel."""
    lines = ["| | weights of the cell | state, numbers | training, s of CPU | step, us |", "|---|---|---|---|---|"]
    for name in LADDER:
        row = row_of(found, name)
        costs = f"{row['cell_parameters']:,} | {row['state_size']} | {row['train_seconds']:.1f} | {row['step_microseconds']:.2f}"
        lines.append(f"| `{name}` | {costs} |")
    return lines


def answers_picture(panels: dict[str, dict[str, Any]]) -> plt.Figure:
    """Each question about two rungs as a group of intervals, one for each panel."""
    asked = [one["question"] for one in next(iter(panels.values()))["questions"] if one["theirs"] in LADDER]
    figure, axes = plt.subplots(figsize=(9, 8), layout="constrained")
    axes.axvspan(-1, 1, color="0.93", zorder=0)
    axes.axvline(0, color="0.4", linewidth=0.8)
    for place, question in enumerate(asked):
        for step, (name, found) in enumerate(panels.items()):
            gain = next(one["gain"] for one in found["questions"] if one["question"] == question)
            y = -place + 0.3 - 0.13 * step
            low, middle, high = (100 * gain[end] for end in ("low", "share", "high"))
            axes.plot([low, high], [y, y], color=COLOURS[name], linewidth=2)
            axes.plot(middle, y, "o", color=COLOURS[name], markersize=4, label=CHOSEN[name] if place == 0 else None)
    axes.set_yticks([-place for place in range(len(asked))], [_broken(question) for question in asked])
    axes.set_xlabel("per cent by which the richer one's MASE is lower, with 95 % intervals (grey: less than 1 %)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=len(panels), frameon=False)
    return figure


def gates_picture(steps: list[dict[str, Any]], title: str) -> plt.Figure:
    """A series, and under it the gates of every unit, those that let in most at the bottom."""
    z, r = (np.array([[unit["numbers"][gate] for unit in step["units"]] for step in steps]).T for gate in ("z", "r"))
    order = np.argsort(-z.mean(axis=1))[::-1]
    at = [int(step["timestamp"]) for step in steps]
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(8, 7), sharex=True, layout="constrained", height_ratios=(1.2, 2, 2)
    )
    top.plot(at, [step["y"] for step in steps], color="#4477aa", linewidth=1.2)
    top.set_ylabel(title)
    for axes, gate, said in ((middle, z, "z: open, the candidate enters"), (bottom, r, "r: shut, the past is not seen")):
        image = axes.imshow(
            gate[order], aspect="auto", cmap="cividis", vmin=0, vmax=1, extent=(at[0] - 0.5, at[-1] + 0.5, len(gate), 0)
        )
        axes.set_ylabel("unit, slowest first")
        axes.set_title(said, loc="left", fontsize=10)
        figure.colorbar(image, ax=axes, pad=0.01)
    bottom.set_xlabel("hour")
    return figure


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}"


def _broken(question: str) -> str:
    """A long question on two lines."""
    words = question.replace("(1 - z) h", "(1\u00a0-\u00a0z)\u00a0h").split(" ")
    half = (len(words) + 1) // 2
    return question if len(question) < 24 else " ".join(words[:half]) + "\n" + " ".join(words[half:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path("gates"))
    parser.add_argument("--run", default="gates_hourly")
    parser.add_argument("--series", default="H1")
    parser.add_argument("--at", default="580")
    given = parser.parse_args()
    mpl.use("Agg")
    panels = found_in(given.home)
    for table in (scores_table(panels), answers_table(panels), costs_table(panels["hourly"])):
        print("\n".join(table), end="\n\n")
    answers_picture(panels).savefig(IMAGES / "gates_answers.png", dpi=110)
    words = ("explain", "trace", given.run, "--series", given.series, "--at", given.at, "--steps", "100", "--all")
    traced = forecast(*words, home=given.home)
    gates_picture(traced["steps"], f"{given.series}").savefig(IMAGES / "gates_over_time.png", dpi=110)


if __name__ == "__main__":
    main()
