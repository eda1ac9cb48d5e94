"""The stream's side of a hand-over: between micro-batches it looks for a request, and in the end it switches.

What takes long is done in a thread of low priority: loading the model that is to come, and taking in what was committed since its
series were saved. Between two micro-batches, only the last of these are left to be taken in, and a transaction.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from forecaster.errors import ForecasterError, StateError
from forecaster.jobs.desk import FOLLOW, SWITCH, Answer, Desk, Request
from forecaster.jobs.home import Home
from forecaster.jobs.live import Speaker
from forecaster.models.network import torch_threads
from forecaster.streaming.directory import identity_of
from forecaster.streaming.engine import Engine
from forecaster.streaming.heir import Heir, SavedSeries, rehearse
from forecaster.streaming.state import StateStore

LOOK_SECONDS = 0.25  # between two looks at the desk
NICE = 10
ROUNDS, FEW = 20, 4_096  # how often the log is read again, at most, until there is no more than that in it

Say = Callable[[str], None]


class Takeover:
    """Lets another model take a stream's state over, when that is asked for: call `attend` between micro-batches.

    `taken` is told who speaks from now on.
    """

    def __init__(self, engine: Engine, home: Home, *, say: Say, taken: Callable[[Speaker], None]) -> None:
        self._engine, self._home, self._say, self._taken = engine, home, say, taken
        self._desk = Desk(engine.store.directory)
        self._request: Request | None = None
        self._work: _Preparation | None = None
        self._due = 0.0

    def attend(self) -> None:
        """See whether something is asked, and go on with what was. Raises StateError when the disk refuses in the very switch."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + LOOK_SECONDS
            request = self._desk.request()
            if request != self._request:
                self._turn_to(request)
            elif self._work is not None:
                self._desk.give_sign()
        if self._work is not None and not self._work.is_alive():
            self._end(self._work)

    def close(self) -> None:
        """Let go of what is being prepared, once its thread has ended."""
        work = self._work
        self._turn_to(None)
        if work is not None:
            work.join()

    def _turn_to(self, request: Request | None) -> None:
        if self._work is not None:
            self._work.stop()
        self._request, self._work = request, None
        store = self._engine.store
        if request is None:
            store.keeps_log_after = None
        elif request.asks == SWITCH:
            self._work = _Preparation(request, self._engine, self._desk, self._home)
        else:
            if request.asks == FOLLOW:
                store.keeps_log_after = store.batch
            self._desk.answer(Answer(request.moment))

    def _end(self, work: "_Preparation") -> None:
        """Switch, if all is well and it is still wanted; say what became of it."""
        self._work, request = None, work.request
        if self._desk.request() != request:
            return
        try:
            pause_ms = work.switch()
        except ForecasterError as error:
            self._desk.answer(Answer(request.moment, error=str(error)))
            if not self._engine.store.is_open:
                raise
            self._say(f"the state stays with {self._engine.name}: {error}")
            return
        self._taken(work.speaker)
        self._desk.answer(Answer(request.moment, pause_ms=pause_ms))
        self._say(f"{self._engine.name} goes on with the stream, after a pause of {pause_ms:,.0f} ms")


class _Preparation(threading.Thread):
    """A model and its series, made ready to take over beside the stream that steps on."""

    speaker: Speaker
    heir: Heir

    def __init__(self, request: Request, engine: Engine, desk: Desk, home: Home) -> None:
        super().__init__(daemon=True)
        self.request, self._engine, self._desk, self._home = request, engine, desk, home
        self._fault: Exception | None = None
        self._is_over = threading.Event()
        self.start()

    def run(self) -> None:
        """Load, then read the log until little is left in it."""
        try:
            if sys.platform == "linux":
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)  # of this thread alone
            with torch_threads(1):
                self._load()
                self._follow()
        except Exception as error:  # noqa: BLE001 - told to who asked: the stream goes on
            self._fault = error

    def stop(self) -> None:
        """Have it end, as soon as that can be."""
        self._is_over.set()

    def switch(self) -> float:
        """Let the engine go on as the model that was prepared; how many milliseconds that took. Raises StateError."""
        if isinstance(self._fault, ForecasterError):
            raise self._fault
        if self._fault is not None:
            raise StateError(f"what was made beside cannot be taken over ({self._fault!r}). Give the command again.")
        began, engine, series = time.perf_counter(), self._engine, self._engine.series
        self.heir.follow(engine.store.blocks_after(self.heir.batch))
        stepper = self.heir.stepper
        engine.change_model(
            self.heir,
            self._desk.beside,
            self._saved,
            name=self.speaker.label,
            identity=identity_of(stepper.fingerprint, engine.frequency, stepper.state_size, series.window),
            owner=self.speaker.owner,
        )
        return 1000 * (time.perf_counter() - began)

    @property
    def _saved(self) -> SavedSeries:
        assert self.request.saved is not None
        return self.request.saved

    def _load(self) -> None:
        engine, saved = self._engine, self._saved
        self.speaker = Speaker.of_owner(self.request.owner, self._home, say=lambda _: None)
        stepper, window = self.speaker.stepper, engine.series.window
        self.heir = Heir.load(self._desk.beside, saved, stepper, engine.series.ids[: saved.known], window=window)
        rehearse(stepper, self.heir.series)

    def _follow(self) -> None:
        engine = self._engine
        look = partial(StateStore.look, fingerprint=engine.stepper.fingerprint, frequency=engine.frequency)
        with look(engine.store.directory, state_size=engine.stepper.state_size, window=engine.series.window) as store:
            for _ in range(ROUNDS):
                if self._is_over.is_set() or self.heir.follow(store.blocks_after(self.heir.batch)) <= FEW:
                    return
