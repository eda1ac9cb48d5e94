"""Which units of a step are worth a look, and what there is to see."""

from collections.abc import Sequence

from forecaster.explain.formulas import Layer, Step

KEPT, REPLACED = 0.05, 0.95  # shares at and beyond which a gate counts as shut or open
AT_LIMIT = 0.99
MOST_TELLING = 6


def telling_units(layer: Layer, steps: Sequence[Step], *, count: int = MOST_TELLING) -> tuple[int, ...]:
    """The units [count] in which gates go furthest or the state moves most, in any of the steps; in the order of their numbers.

    The extremes of each kind take turns: least and most of the old state gone, most closed reset, largest change.
    """
    size = layer.hidden_size
    kinds: list[list[float]] = []
    for done in steps:
        enters = done.enters(layer)[0].tolist()
        change = (done.after[0, :size] - done.before[0, :size]).abs().tolist()
        kinds += [enters, [-one for one in enters]]
        if "r" in layer.gates:
            kinds.append(done.gate(layer, "r")[0].tolist())
        kinds.append([-one for one in change])
    ranked = [sorted(range(size), key=kind.__getitem__) for kind in kinds]
    found: list[int] = []
    for place in range(size):
        for order in ranked:
            if order[place] not in found and len(found) < count:
                found.append(order[place])
    return tuple(sorted(found))


def sentence_of(layer: Layer, done: Step, unit: int, *, is_turned: bool) -> str:
    """What one unit does in a step, in words; `is_turned` says that z is told as the share that stays."""
    numbers = {gate: float(done.gates[0, k, unit]) for k, gate in enumerate(layer.gates)}
    after = float(done.after[0, unit])
    if layer.rung == "rnn":
        return f"h = {after:.2f}, at its limit" if abs(after) >= AT_LIMIT else f"h = {after:.2f}, all of it new"
    if layer.rung == "lstm":
        return _of_lstm(numbers)
    said = [_of_z(numbers["z"], is_turned=is_turned, has_carry=layer.rung != "no_carry")]
    if numbers.get("r", 1.0) <= KEPT:
        said.append(f"r = {numbers['r']:.2f}, the candidate ignores the past")
    return "; ".join(said)


def _of_z(z: float, *, is_turned: bool, has_carry: bool) -> str:
    shown = f"z = {1 - z if is_turned else z:.2f}"
    if not has_carry:
        return f"{shown}, {100 * z:.0f} % of the candidate is all there is"
    if z <= KEPT:
        return f"{shown}, the state is kept"
    if z >= REPLACED:
        return f"{shown}, the state is replaced"
    return f"{shown}, {100 * z:.0f} % of the candidate enters"


def _of_lstm(numbers: dict[str, float]) -> str:
    said = []
    if numbers["f"] >= REPLACED and numbers["i"] <= KEPT:
        said.append(f"f = {numbers['f']:.2f} and i = {numbers['i']:.2f}, the cell state is kept")
    elif numbers["f"] <= KEPT:
        said.append(f"f = {numbers['f']:.2f}, the cell state is forgotten")
    else:
        said.append(f"f = {numbers['f']:.2f}, {100 * numbers['f']:.0f} % of the cell state stays")
    if numbers["o"] <= KEPT:
        said.append(f"o = {numbers['o']:.2f}, the unit is silent")
    return "; ".join(said)
