"""One rung of the ladder, trained from one seed and scored: files that outlive a restart."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from forecaster.config import Config
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import Backtest, check_rows, known_part
from forecaster.evaluation.ledger import Tally
from forecaster.evaluation.scores import Scores, score
from forecaster.forecast import Forecast, Forecaster
from forecaster.models.checkpoint import load_recurrent, recurrent_from, save_recurrent
from forecaster.models.ensemble import train_network
from forecaster.models.inputs import Inputs
from forecaster.models.network import Network, torch_threads
from forecaster.models.plan import plan_windows
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import scaler_for
from forecaster.models.training import Progress
from forecaster.models.windows import PanelWindows
from forecaster.series import Origins, Panel, Values

UNSCORED = "none"  # no forecaster stands in for another, and nothing is measured by one


@dataclass(frozen=True)
class Exam:
    """What every rung is given alike: the panel, the steps held back from training, and the origins in them."""

    panel: Panel
    config: Config
    horizon: int
    holdout: int
    season_length: int
    origins: Origins

    @property
    def known(self) -> Panel:
        """What a rung may learn from."""
        return self.panel.drop_last(self.holdout)

    def scores(self, forecaster: Forecaster) -> Scores:
        """The forecasts of one forecaster from every origin, scored."""
        past, rows = known_part(self.panel, self.origins)
        quantiles = self.config.quantiles
        forecast = forecaster.predict(past, self.horizon, quantiles=quantiles, origins=rows)
        check_rows(forecast, past, horizon=self.horizon, quantiles=quantiles, origins=rows)
        truth = actuals_matrix(forecast, self.panel)
        said = Backtest({forecaster.name: forecast})
        return score(said, history=self.known, actuals=truth, season_length=self.season_length, reference=UNSCORED)


@dataclass(frozen=True)
class RungFacts:
    """What one training was and took: processor seconds, optimiser steps, weights in all and in the cell."""

    rung: str
    seed: int
    seconds: float
    steps: int
    parameters: int
    cell_parameters: int
    state_size: int
    fingerprint: str


@dataclass(frozen=True)
class Training:
    """One rung and seed of an exam, its results in `results` under its own name, its unfinished work in `scratch`."""

    exam: Exam
    rung: str
    seed: int
    results: Path
    scratch: Path

    @property
    def name(self) -> str:
        return f"{self.rung}-{self.seed}"

    @property
    def weights(self) -> Path:
        return self.results / f"{self.name}.safetensors"

    @property
    def is_done(self) -> bool:
        return self._facts.exists()

    @property
    def _facts(self) -> Path:
        return self.results / f"{self.name}.json"

    @property
    def _losses(self) -> Path:
        return self.results / f"{self.name}-scores.safetensors"

    @property
    def _told(self) -> Path:
        return self.scratch / f"{self.name}.progress"

    def learn(self, progress: Progress | None = None) -> None:
        """Train and score, and leave the results; what was begun goes on."""
        forecaster, seconds = self._trained(progress)
        scores = self.exam.scores(forecaster)
        tally = scores.tallies[forecaster.name]
        save_recurrent(forecaster, self.weights)
        network, cells = forecaster.network, [forecaster.network.member(k).cell for k in range(self.exam.config.model.members)]
        facts = RungFacts(
            self.rung,
            self.seed,
            seconds=round(seconds, 2),
            steps=_steps_made(self.scratch / self.name),
            parameters=sum(weight.numel() for weight in network.parameters()),
            cell_parameters=sum(weight.numel() for cell in cells for weight in cell.parameters()),  # type: ignore[attr-defined]
            state_size=forecaster.state_size,
            fingerprint=forecaster.fingerprint,
        )
        _write(self._losses, lambda path: save_file(_arrays(tally), path))
        _write(self._facts, lambda path: path.write_text(json.dumps(asdict(facts), indent=1), encoding="utf-8"))
        shutil.rmtree(self.scratch / self.name)

    def forecaster(self) -> Recurrent:
        """The finished network."""
        return load_recurrent(self.weights)

    def facts(self) -> RungFacts:
        """What the finished training was."""
        return RungFacts(**json.loads(self._facts.read_text(encoding="utf-8")))

    def tally(self) -> Tally:
        """What the finished training lost."""
        arrays = load_file(self._losses)
        rows, counts = arrays.pop("rows"), arrays.pop("counts")
        return Tally(rows, arrays, *(int(count) for count in counts))

    def share_done(self) -> tuple[float, str]:
        """How far it is, 0 to 1, and what it says of itself."""
        if self.is_done:
            return 1.0, ""
        try:
            told = json.loads(self._told.read_text(encoding="utf-8"))
            return float(told["share"]), str(told["word"])
        except (OSError, ValueError):  # not begun
            return 0.0, ""

    def _trained(self, progress: Progress | None) -> tuple[Recurrent, float]:
        """The trained network, and the processor seconds that it took, those before a restart included.

        It speaks alone: leaning towards smoothings would hide what its gates are worth.
        """
        exam, config = self.exam, self.exam.config
        steps = min(config.training.validation_steps, config.training.max_steps)
        training = config.training.model_copy(update={"refit_share": 0.0, "validation_steps": steps, "lean": 0.0})
        before, began = self._seconds_before(), time.process_time()

        def tell(done: int, planned: int, word: str) -> None:
            told = {"share": done / planned, "word": word, "seconds": before + time.process_time() - began}
            _write(self._told, lambda path: path.write_text(json.dumps(told), encoding="utf-8"))
            if progress:
                progress(done, planned, word)

        forecaster = train_network(
            exam.known,
            model=config.model.model_copy(update={"cell": self.rung}),
            training=training,
            horizon=exam.horizon,
            quantiles=config.quantiles,
            seed=self.seed,
            folder=self.scratch / self.name,
            inputs=config.inputs,
            progress=tell,
        )
        return forecaster, before + time.process_time() - began

    def _seconds_before(self) -> float:
        try:
            return float(json.loads(self._told.read_text(encoding="utf-8"))["seconds"])
        except (OSError, ValueError):
            return 0.0


def learn_alone(training: Training) -> Training:
    """`Training.learn` in a process of its own, which ends when the one who asked for it is gone."""
    asked_by = os.getppid()

    def look(done: int, planned: int, word: str) -> None:  # noqa: ARG001 - a progress takes them
        if os.getppid() != asked_by:
            os._exit(1)

    with on_one_core():
        training.learn(look)
    return training


@contextmanager
def on_one_core() -> Iterator[None]:
    """Members one after the other, and torch on one thread: the processor seconds are then all of this process."""
    before = os.environ.get("LOKY_MAX_CPU_COUNT")
    os.environ["LOKY_MAX_CPU_COUNT"] = "1"
    try:
        with torch_threads(1):
            yield
    finally:
        if before is None:
            del os.environ["LOKY_MAX_CPU_COUNT"]
        else:
            os.environ["LOKY_MAX_CPU_COUNT"] = before


@dataclass(frozen=True)
class Untrained:
    """The smoothing that every network of a panel starts from, under a name of its own."""

    name: str
    network: Recurrent

    @classmethod
    def of(cls, exam: Exam, name: str) -> "Untrained":
        """A network with one unit and no training: damped Holt-Winters, with the intervals of its mean errors."""
        known, config = exam.known, exam.config
        scaler, inputs = scaler_for(known, exam.horizon), Inputs.fit(known, config.inputs)
        model = config.model.model_copy(update={"cell": "smoothing", "hidden_size": 1, "members": 1, "layers": 1, "decay": False})
        network = Network(model, scaler, horizon=exam.horizon, quantiles=config.quantiles, inputs=inputs)
        plan = plan_windows(config.training, known, scaler)
        network.begin_at(PanelWindows(scaler, known, horizon=exam.horizon, plan=plan, inputs=inputs).mean_changes())
        frequency, horizon, quantiles = known.frequency, exam.horizon, config.quantiles
        said = recurrent_from(network, scaler, model, frequency=frequency, horizon=horizon, quantiles=quantiles, inputs=inputs)
        return cls(name, said)

    def predict(self, panel: Panel, horizon: int, *, quantiles: Sequence[float], origins: Origins) -> Forecast:
        return self.network.predict(panel, horizon, quantiles=quantiles, origins=origins)


def _steps_made(folder: Path) -> int:
    """The optimiser steps that each member made, the fewest of them."""
    logs = sorted(folder.glob("member-*/log/metrics.csv"))
    return min(int(pd.read_csv(log)["step"].max()) + 1 for log in logs)


def _arrays(tally: Tally) -> dict[str, Values]:
    counts = np.array([tally.missing, tally.skipped, tally.notes], dtype=np.float64)
    return {name: np.ascontiguousarray(part) for name, part in {**tally.by_lead, "rows": tally.rows, "counts": counts}.items()}


def _write(path: Path, write: Callable[[Path], object]) -> None:
    beside = path.with_name(path.name + ".part")
    write(beside)
    beside.replace(path)
