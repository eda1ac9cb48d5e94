"""From a run and a feed to live forecasts."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from forecaster.errors import ConfigError, DataError
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.models.checkpoint import load_recurrent
from forecaster.models.network import torch_threads
from forecaster.streaming.engine import Engine
from forecaster.streaming.sinks import NdjsonSink
from forecaster.streaming.sources import read_ndjson, replay
from forecaster.streaming.state import StateStore
from forecaster.streaming.stream import StreamSummary, stream_forecasts


def stream(
    run: Run,
    *,
    home: Home,
    state: Path,
    source: BinaryIO | str,
    sink: BinaryIO,
    from_start: bool,
    cold: bool,
    emit_every: int | None,
    should_stop: Callable[[], bool],
    say: Callable[[str], None],
    progress: Callable[[int, int, str], None],
) -> StreamSummary:
    """Step the run's series through a feed of NDJSON, or through another stored panel, and emit forecasts.

    A state that is new begins with the history of the run's panel, unless `cold`. One thread, since a step is too small to
    share. Raises StateError when the state belongs to another model, is damaged, or is in use, ConfigError when the run asks for
    covariates, which a feed does not carry.
    """
    network = load_recurrent(run.deployed_weights)
    if network.inputs.known:
        names = ", ".join(scale.name for scale in network.inputs.known)
        raise ConfigError(
            f"run {run.path.name!r} forecasts with covariates ({names}), and a feed carries values alone. "
            "Train a run for streams with --set inputs.known=[], or forecast with `forecast predict`."
        )
    config = run.config.streaming
    if emit_every is not None:
        config = config.model_copy(update={"emit_every": emit_every})
    with (
        torch_threads(1),
        StateStore.open(
            state,
            fingerprint=network.fingerprint,
            frequency=network.frequency,
            state_size=network.state_size,
            window=config.window(network.frequency),
        ) as store,
    ):
        engine = Engine(network, network.frequency, store, config)
        if len(engine.series):
            say(f"{len(engine.series):,} series go on from {state}")
        elif not cold:
            history = PanelStore(home.panels).load(run.facts.panel)
            added = engine.warm(history, build=network.warm)
            say(f"state in {state} made from the history of {added:,} series")
        committed = engine.progress.feed
        if isinstance(source, str):
            panel = PanelStore(home.panels).load(source)
            if panel.frequency != network.frequency:
                raise DataError(f"panel {source!r} has another frequency than the run. Replay one that counts time alike.")
            arrivals = replay(
                panel, max_batch=config.max_batch, committed=committed, is_whole=from_start, should_stop=should_stop
            )
        else:
            arrivals = read_ndjson(
                source,
                network.frequency,
                max_batch=config.max_batch,
                max_latency_ms=config.max_latency_ms,
                committed=committed,
                is_whole=from_start,
                should_stop=should_stop,
            )
        return stream_forecasts(arrivals, engine, NdjsonSink(sink, network.frequency), progress=progress)
