"""From a run to a page."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from forecaster.errors import DataError, StateError
from forecaster.ingest import PanelStore
from forecaster.ingest.faults import KINDS
from forecaster.jobs.home import Home
from forecaster.jobs.inside import inside_of
from forecaster.jobs.runs import Run
from forecaster.models.checkpoint import load_recurrent
from forecaster.report.excerpts import telling_series
from forecaster.report.page import Progress, make_page, write_page
from forecaster.report.subject import Evaluation, Subject


def report(
    run: Run,
    *,
    home: Home,
    out: Path | None = None,
    ablation: Path | None = None,
    say: Callable[[str], None],
    progress: Progress,
) -> dict[str, Any]:
    """Write the page of a run, `report.html` in its folder unless `out` says where; returns what `--json` prints.

    Raises DataError when the panel is gone, the ablation cannot be read, or the page cannot be written.
    """
    laid = _read_ablation(ablation) if ablation else None
    store = PanelStore(home.panels)
    panel, source = run.known_part(store.load(run.facts.panel)), store.manifest(run.facts.panel)
    network = load_recurrent(run.deployed_weights)
    evaluation, actuals = (_read_evaluation(run, kind) for kind in ("evaluation", "actuals"))
    judged = evaluation or actuals
    if judged is None:
        say(f"the run has no scores yet; `forecast evaluate {run.path.name}` makes them, then make the page again")
    telling = telling_series(judged.by_series, network.name, judged.series_measure) if judged and judged.is_scored else {}
    chosen = telling.get("typical") or telling.get("best") or (panel.ids[0], 0.0)
    subject = Subject(
        run=run.path.name,
        path=run.path,
        ours=network.name,
        is_refit=(run.path / "refit.csv").exists() or not run.facts.holdout,
        panel=panel,
        facts=vars(run.facts),
        config=run.config.model_dump(mode="json"),
        config_text=yaml.safe_dump(run.config.model_dump(mode="json"), sort_keys=False),
        source=vars(source),
        faults={KINDS[kind].plural if kind in KINDS else kind: count for kind, count in source.faults.items()},
        parameters=sum(weight.numel() for weight in network.network.parameters()),
        evaluation=evaluation,
        actuals=actuals,
        inside=inside_of(network, panel, unique_id=chosen[0], progress=progress),
        ablation=laid,
    )
    made = datetime.now(UTC).isoformat(timespec="seconds")
    path = out or run.path / "report.html"
    size = write_page(make_page(subject, made=made, progress=progress), path)
    missing = [name for name, is_there in _parts(subject).items() if not is_there]
    return {"run": str(run.path), "out": str(path), "bytes": size, "missing": missing}


def _parts(subject: Subject) -> dict[str, bool]:
    """What a page can hold, and whether this one does."""
    judged = subject.judged
    return {
        "scores": judged is not None,
        "significance": bool(judged and judged.summary.get("significance")),
        "champions": bool(judged and judged.champions is not None),
        "gates": subject.inside is not None,
        "ladder": subject.ablation is not None,
    }


def _read_evaluation(run: Run, kind: str) -> Evaluation | None:
    """An evaluation of the run, None where it has none; StateError where it is damaged."""
    path = run.path / f"{kind}.json"
    if not path.exists():
        return None
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StateError(f"{path} is damaged ({error}). Evaluate the run again.") from None
    found = Evaluation(summary, run.path / kind)
    lacking = [name for name in ("by_series", "by_lead", "by_origin", "forecasts") if not found.path(name).exists()]
    if lacking:
        raise StateError(f"{found.path(lacking[0])} is gone. Evaluate the run again.")
    return found


def _read_ablation(path: Path) -> Mapping[str, Any]:
    """What an ablation found, from its folder or its file; DataError when it is none."""
    file = path / "ablation.json" if path.is_dir() else path
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else f"no JSON: {error}"
        raise DataError(f"--ablation {file}: cannot be read ({told}). Give the folder that `forecast ablate` wrote.") from None
    lacking = [name for name in ("answer", "ladder") if not isinstance(found, dict) or name not in found]
    if lacking:
        raise DataError(f"--ablation {file}: holds no {lacking[0]!r}. Give the folder that `forecast ablate` wrote.")
    return dict(found)
