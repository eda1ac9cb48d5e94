"""What an evaluation asks: which part of a panel is to be forecast, from where, and what came after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from forecaster.errors import ConfigError
from forecaster.evaluation.actuals import match_actuals
from forecaster.evaluation.answers import SERIES_AT_ONCE, Answers, Listen, score_answers
from forecaster.evaluation.backtest import rolling_origins, scale_season_length
from forecaster.evaluation.scores import Scores
from forecaster.forecast import Forecast
from forecaster.ingest import ColumnNames, PanelStore, read_panel
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.models.checkpoint import load_recurrent
from forecaster.models.recurrent import Recurrent
from forecaster.series import Origins, Panel

Say = Callable[[str], None]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Question:
    """What everybody is asked: a part of the panel from which origins, and what came after them.

    `history` is what may be fitted on, and `kind` names the folder and the file of the answers.
    """

    kind: Literal["evaluation", "actuals"]
    panel: Panel
    history: Panel
    came: Panel
    origins: Origins
    horizon: int
    quantiles: tuple[float, ...]
    season_length: int
    reference: str

    @property
    def series(self) -> int:
        """How many series are asked for."""
        return len(np.unique(self.origins.index))

    def score(
        self, answers: dict[str, Answers], *, progress: Progress, at_once: int = SERIES_AT_ONCE, listen: Listen | None = None
    ) -> Scores:
        """Everybody's scores; `listen` hears the forecasts."""
        return score_answers(
            answers,
            self.panel,
            origins=self.origins,
            horizon=self.horizon,
            quantiles=self.quantiles,
            season_length=self.season_length,
            actuals=self.came,
            reference=self.reference,
            series_at_once=at_once,
            listen=listen,
            progress=progress,
        )


def ask(
    run: Run,
    home: Home,
    actuals: Sequence[str],
    *,
    columns: ColumnNames = ColumnNames(),  # noqa: B008 - frozen
    time_format: str | None = None,
    stride: int | None = None,
    say: Say,
) -> tuple[Question, Recurrent]:
    """What is asked, and the network that may answer it: one that has not seen what came."""
    panel = run.known_part(PanelStore(home.panels).load(run.facts.panel))
    if panel.fingerprint != run.facts.panel_fingerprint:
        say("the panel was ingested again since the training: it is scored as far as it reached then, with its revised values")
    season = run.config.evaluation.season_length or scale_season_length(panel.frequency)
    fixed = run.facts.horizon, run.config.quantiles, season, run.config.evaluation.reference
    if actuals:
        if stride is not None:
            raise ConfigError("--stride goes with rolling origins, and --actuals has one origin a series. Leave one of them out.")
        origins, network = Origins.back(panel), load_recurrent(run.deployed_weights)
        came = read_panel(actuals, like=panel.frequency, columns=columns, time_format=time_format)
        _check_actuals(panel, origins, came, horizon=run.facts.horizon, say=say)
        return Question("actuals", panel, panel, came, origins, *fixed), network
    origins = rolling(run, panel, stride)
    return Question("evaluation", panel, panel.drop_last(run.facts.holdout), panel, origins, *fixed), load_recurrent(
        run.judged_weights
    )


def rolling(run: Run, panel: Panel, stride: int | None) -> Origins:
    """Origins in the part that was held back; raises ConfigError when there is none."""
    if not run.facts.holdout:
        raise ConfigError(
            f"run {run.path.name!r} was trained on every value of {run.facts.panel!r}, so no part of it can score the run. "
            "Give what came after with --actuals FILE, or train with --set evaluation.origins=1 or more."
        )
    return rolling_origins(panel, run.facts.holdout, horizon=run.facts.horizon, stride=stride or stride_of(run))


def stride_of(run: Run) -> int:
    """How far apart the origins of a run lie."""
    return run.config.evaluation.stride or run.facts.horizon


def _check_actuals(panel: Panel, origins: Origins, came: Panel, *, horizon: int, say: Say) -> None:
    """Raises DataError when values that were given match no forecast; says of which series there are none."""
    ids = tuple(panel.ids[b] for b in origins.index)
    asked = Forecast(ids, origins.positions(panel), (0.5,), np.zeros((len(origins), horizon, 1)), panel.frequency, {})
    matched = match_actuals(asked, came)
    for some, what in ((matched.without_actuals, "have no actual values"), (matched.without_forecast, "were never trained on")):
        if some:
            say(f"{len(some)} series {what}, such as {some[0]!r}; they are left out")
