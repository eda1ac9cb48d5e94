"""`forecast tune`: a configuration and a panel in, a better configuration out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.app import FARTHEST, Json, mistakes_told

if TYPE_CHECKING:
    from forecaster.jobs.tune import Tuned


def tune(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Where the search begins, such as configs/default.yaml.")],
    panel: Annotated[str, typer.Option(help="The panel to learn from.")],
    max_minutes: Annotated[float, typer.Option(min=0.01, help="Time of the whole search.")],
    out: Annotated[Path | None, typer.Option(help="The best configuration; tuned-PANEL.yaml otherwise.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="At most so many trials.")] = None,
    trial_minutes: Annotated[float | None, typer.Option(min=0.001, help="Time of one training, else a tenth of all.")] = None,
    horizon: Annotated[
        int | None, typer.Option(min=1, max=FARTHEST, help="How far forecasts reach; else the frequency's usual.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="May be repeated.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, also where an unfinished search could go on.")] = False,
    json: Json = False,
) -> None:
    """Search better settings by rolling origins inside the training part; the same command goes on where it was cut off.

    `forecast tune configs/default.yaml --panel sales --max-minutes 60 --out sales.yaml`
    """
    with mistakes_told():
        from dataclasses import asdict

        from forecaster.config import read_config
        from forecaster.errors import DataError
        from forecaster.jobs.home import Home
        from forecaster.jobs.tune import tune as tune_settings
        from forecaster.jobs.whole import write_whole
        from forecaster.terminal import Talk, print_json, print_lines

        talk, out = Talk(), out or Path(f"tuned-{panel}.yaml")
        given = [*(settings or []), *([f"horizon={horizon}"] if horizon else [])]
        with talk.progress("tuning") as progress:
            tuned = tune_settings(
                read_config(config, given),
                panel,
                home=Home.here(),
                max_minutes=max_minutes,
                trials=trials,
                trial_minutes=trial_minutes,
                fresh=fresh,
                say=talk.say,
                progress=progress,
            )
        told = _told(tuned)
        try:
            write_whole(out, "".join(f"# {line}\n" for line in told).encode() + tuned.config.to_yaml().encode())
        except OSError as error:
            raise DataError(f"--out {out}: cannot be written ({error.strerror}). Choose another place.") from None
        facts = {key: value for key, value in asdict(tuned).items() if key != "config"}
        print_json(facts | {"out": str(out), "told": told}) if json else print_lines([*told, f"written to {out}"])


def _told(tuned: "Tuned") -> list[str]:
    """What was found, how sure it is, and what it is not."""
    change = 100 * (tuned.best / tuned.default - 1) if tuned.default else 0.0
    sure = f", standard error of the difference {100 * tuned.standard_error / tuned.default:.1f} %" if tuned.default else ""
    stopped = f", {tuned.pruned} of them stopped early" if tuned.pruned else ""
    lines = [f"{tuned.panel}: {tuned.trials} trials in {tuned.seconds / 60:.1f} minutes{stopped}"]
    if not tuned.settings:
        return [*lines, f"no trial was better than the configuration itself: MASE {tuned.default:.4f} on the validation part"]
    judge = f"score it on the last {tuned.holdout} values, which no trial has seen" if tuned.holdout else "score it on later data"
    return [
        *lines,
        ", ".join(f"{key}={_short(value)}" for key, value in tuned.settings.items()),
        f"MASE {tuned.best:.4f} on the validation part, the configuration itself {tuned.default:.4f} ({change:+.1f} %{sure})",
        f"The best of {tuned.trials} was chosen by this very score, so it looks better here than it is. `forecast train` and",
        f"`forecast evaluate` {judge}.",
    ]


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
