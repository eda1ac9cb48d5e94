"""Which run serves a panel, and which one did before it: one small file a panel.

Both pointers stand in one file that is replaced by rename, so there is no moment at which one has moved and the other has not.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from forecaster.errors import ConfigError, StateError
from forecaster.jobs.home import Home
from forecaster.jobs.whole import write_json

POINTERS = ("current", "previous")
REMEMBERED = 200  # changes of who serves


@dataclass(frozen=True)
class Change:
    """At some time a run took over, and why."""

    at: str
    run: str
    why: str


@dataclass(frozen=True)
class Service:
    """Who serves a panel now, who did before, and the changes that led here, the latest last; None where nobody does."""

    panel: str
    current: str | None = None
    previous: str | None = None
    changes: tuple[Change, ...] = ()

    @property
    def since(self) -> str | None:
        """When the run that serves took over."""
        return self.changes[-1].at if self.changes else None


def service_of(panel: str, home: Home) -> Service:
    """Who serves a panel; raises StateError when the pointers are damaged."""
    path = _pointers(home) / f"{panel}.pointers.json"
    try:
        fields = json.loads(path.read_bytes())
        changes = tuple(Change(**change) for change in fields["changes"])
        return Service(fields["panel"], fields["current"], fields["previous"], changes)
    except FileNotFoundError:
        return Service(panel)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise StateError(
            f"{path} does not say who serves {panel!r} ({type(error).__name__}). Remove it, then `forecast runs promote RUN`."
        ) from error


def services(home: Home) -> list[Service]:
    """Who serves, for every panel that somebody serves."""
    return [
        service_of(path.name.removesuffix(".pointers.json"), home) for path in sorted(_pointers(home).glob("*.pointers.json"))
    ]


def put_in_service(panel: str, run: str, home: Home, *, at: str, why: str) -> Service:
    """Let a run serve; the one that did becomes the previous one. Nothing changes where it serves already."""
    with _alone(home, panel):
        before = service_of(panel, home)
        if before.current == run:
            return before
        return _replace(home, Service(panel, run, before.current, (*before.changes, Change(at, run, why))))


def put_back(panel: str, home: Home, *, at: str, why: str) -> Service:
    """Let the previous run serve again; who served becomes the previous one. Raises ConfigError when there is none."""
    with _alone(home, panel):
        before = service_of(panel, home)
        if before.previous is None:
            raise ConfigError(f"panel {panel!r} has no previous run to go back to. Choose one with `forecast runs promote RUN`.")
        return _replace(
            home, Service(panel, before.previous, before.current, (*before.changes, Change(at, before.previous, why)))
        )


def serving_run(name: str, home: Home) -> str:
    """The name of the run that `current`, `previous`, `PANEL@current` or `PANEL@previous` stands for; other names as they are.

    Raises ConfigError when nobody serves there, or when `current` could be of several panels.
    """
    panel, at, pointer = name.rpartition("@")
    if pointer not in POINTERS or (at and not panel):
        return name
    if not at:
        serving = [service.panel for service in services(home)]
        if len(serving) != 1:
            held = (
                ", ".join(f"{panel}@{pointer}" for panel in serving[:5]) or "none yet: `forecast runs promote RUN` puts one there"
            )
            raise ConfigError(f"{pointer!r}: {len(serving)} panels are served here; expected one. Say which ({held}).")
        panel = serving[0]
    run = getattr(service_of(panel, home), pointer)
    if run is None:
        raise ConfigError(f"{name!r}: panel {panel!r} has no {pointer} run. Choose one with `forecast runs promote RUN`.")
    return str(run)


def _pointers(home: Home) -> Path:
    return home.runs / ".in_service"


@contextmanager
def _alone(home: Home, panel: str) -> Iterator[None]:
    """One change of who serves a panel at a time; the others wait."""
    folder = _pointers(home)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{panel}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(home: Home, service: Service) -> Service:
    kept = Service(service.panel, service.current, service.previous, service.changes[-REMEMBERED:])
    try:
        write_json(_pointers(home) / f"{service.panel}.pointers.json", asdict(kept))
    except OSError as error:
        raise StateError(
            f"{_pointers(home)}: who serves {service.panel!r} cannot be written ({error.strerror}). Free the way."
        ) from error
    return kept
