"""What the ladder says, in sentences that its intervals support.

A gain of less than `worth` counts as none. A question is answered with yes or no only where the whole interval is on one side of
nothing, or of what counts; else it cannot be told.
"""

from dataclasses import dataclass
from typing import Any

from forecaster.ablation.intervals import Gain
from forecaster.ablation.ladder import CONFIDENCE, Ladder, Rung, gain_summary

CHEAPER = 1.05  # times: a smaller difference between two step costs is one of the measurement


@dataclass(frozen=True)
class Question:
    """What a rung has and a simpler one has not."""

    text: str
    what: str
    richer: str
    simpler: str


QUESTIONS = (
    Question("Is the reset gate needed?", "the reset gate", "gru", "gru_no_reset"),
    Question("Does the reset gate belong before the product?", "a reset gate before the product", "gru_reset_before", "gru"),
    Question("Is the (1 - z) h needed?", "the carry (1 - z) h", "gru_no_reset", "no_carry"),
    Question(
        "Must the gate and the candidate see h?", "seeing h, as a gate and a candidate with tanh do,", "gru_no_reset", "adaptive"
    ),
    Question("Must the smoothing weight change?", "a weight that changes with the inputs", "adaptive", "smoothing"),
    Question("Are gates needed at all?", "the pair of gates of a GRU", "gru", "rnn"),
    Question("Is an LSTM better than a GRU?", "the second state of an LSTM", "lstm", "gru"),
)


@dataclass(frozen=True)
class Answer:
    """A question, and what may be said to it."""

    question: str
    text: str
    ours: str
    theirs: str
    gain: Gain


@dataclass(frozen=True)
class Recommendation:
    """The cheapest rung that is shown to come within `worth` of the best one; else the best one."""

    rung: str
    best: str
    gain_on_best: Gain
    times_cheaper: float
    text: str


def answers(ladder: Ladder, *, worth: float = 0.01) -> list[Answer]:
    """What can be said to each question whose two rungs were trained, and whether plain smoothing is enough."""
    names = {rung.name for rung in ladder.rungs}
    asked = [question for question in QUESTIONS if {question.richer, question.simpler} <= names]
    said = [_answer(ladder, question, worth) for question in asked]
    return said + ([_enough(ladder, ladder.best_reference, worth)] if ladder.best_reference else [])


def recommendation(ladder: Ladder, *, worth: float = 0.01) -> Recommendation:
    """The rung to use, and why."""
    best, others = ladder.best, [rung for rung in ladder.rungs if rung.name != ladder.best.name]
    cheaper = [rung for rung in others if best.step_microseconds > CHEAPER * rung.step_microseconds]
    gains = {rung.name: ladder.gain(rung.name, best.name) for rung in ladder.rungs}
    near = [rung for rung in cheaper if gains[rung.name].low > -worth]
    chosen = min(near, key=lambda rung: rung.step_microseconds, default=best)
    times = best.step_microseconds / chosen.step_microseconds
    text = _advice(best, chosen, cheaper, gains, times=times, worth=worth, units=f"{ladder.found.units} {ladder.found.unit}")
    return Recommendation(chosen.name, best.name, gains[chosen.name], times, text)


def answers_summary(said: list[Answer]) -> list[dict[str, Any]]:
    """The answers as JSON has them."""
    return [
        {"question": one.question, "answer": one.text, "ours": one.ours, "theirs": one.theirs, "gain": gain_summary(one.gain)}
        for one in said
    ]


def _answer(ladder: Ladder, question: Question, worth: float) -> Answer:
    found = ladder.gain(question.richer, question.simpler)
    sizes = f"the {ladder.measure} of {question.richer} is {_beside(found, question.simpler)}"
    if not found.is_known:
        text = f"Cannot be told: {_few(ladder)}."
    elif found.low > 0:
        text = f"{'Yes' if found.high >= worth else 'Hardly'}: {question.what} earns something: {sizes}."
    elif found.high < 0:
        text = f"No: {question.what} does harm: {sizes}."
    elif found.high < worth:
        text = f"No: {question.what} earns nothing, or less than {_percent(worth)}: {sizes}."
    else:
        text = f"Cannot be told: {sizes}."
    return Answer(question.text, text, question.richer, question.simpler, found)


def _enough(ladder: Ladder, plain: str, worth: float) -> Answer:
    """Whether anything is better than the best of the plain references, corrected for there being many rungs to choose from."""
    best, count = ladder.best.name, len(ladder.rungs)
    found = ladder.gain(best, plain, confidence=1 - (1 - CONFIDENCE) / count)
    corrected = f", corrected for {count} rungs to choose from" if count > 1 else ""
    sizes = f"the {ladder.measure} of {best}, the best rung, is {_beside(found, plain, corrected)}"
    if not found.is_known:
        text = f"Cannot be told: {_few(ladder)}."
    elif found.low > 0:
        text = f"{'No' if found.high >= worth else 'Nearly'}: {sizes}."
    elif found.high < worth:
        text = f"Yes: {sizes}."
    else:
        text = f"Cannot be told: {sizes}."
    return Answer("Is plain smoothing enough?", text, best, plain, found)


def _advice(
    best: Rung, chosen: Rung, cheaper: list[Rung], gains: dict[str, Gain], *, times: float, worth: float, units: str
) -> str:
    if not gains[best.name].is_known:
        return f"{best.name} has the lowest mean loss; over {units} that is no evidence. Score more series or origins."
    if chosen != best:
        sizes = f"the loss of {chosen.name} is {_beside(gains[chosen.name], best.name)}, the best rung"
        return f"{sizes}, and its step is {times:.1f}x cheaper: use {chosen.name}."
    if not cheaper:
        return f"{best.name} has the lowest mean loss, and no rung is cheaper: use {best.name}."
    level = [rung.name for rung in cheaper if gains[rung.name].high >= 0]
    listed = f"{', '.join(level[:-1])} or {level[-1]}" if len(level) > 1 else "".join(level)
    open_ = f"; whether {listed} would do cannot be told" if level else ", and each cheaper one is shown to lose more"
    near = f"no cheaper rung is shown to come within {_percent(worth)} of it"
    return f"{best.name} has the lowest mean loss, and {near}{open_}: use {best.name}."


def _few(ladder: Ladder) -> str:
    return f"{ladder.found.units} {ladder.found.unit} are too few"


def _beside(found: Gain, other: str, remark: str = "") -> str:
    """How far a loss lies below or above that of another, with the interval of that."""
    word, size = ("below", found) if found.share >= 0 else ("above", -found)
    interval = f"95 % interval {100 * size.low:.1f} to {_percent(size.high)}{remark}"
    return f"{_percent(size.share)} {word} that of {other} ({interval})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
