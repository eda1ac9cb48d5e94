"""The rungs as papers and torch write them, each formula with the names of its numbers.

Conventions differ in three things: which way z points, whether a gate has one bias or two, and on which side of the product the
reset gate acts. The first two are spelling; the third is another network, so a trace says where its own acts.

    paper   Chung et al. 2014, arXiv:1412.3555: z is the share of the candidate that enters, as everywhere in this program; the
            biases of a gate are added up. (Cho et al. 2014, arXiv:1406.1078, who came first, point z the other way.)
    torch   torch.nn.GRU: z is the share of the old state that stays; a bias beside each product.
"""

from dataclasses import dataclass
from typing import Literal

from forecaster.explain.formulas import GATES, LINEAR, Layer, Step

Convention = Literal["paper", "torch"]
CONVENTIONS: tuple[Convention, ...] = ("paper", "torch")


@dataclass(frozen=True)
class Formula:
    """A number and how it is made, with the names of its numbers in braces: `{h'}` is the state after the step.

    >>> formula = Formula("h'", "(1 - {z}) * {h} + {z} * {n}")
    >>> formula.text, formula.worked({"z": 0.25, "h": -1.0, "n": 3.0}, digits=2)
    ('(1 - z) * h + z * n', '(1 - 0.25) * -1.00 + 0.25 * 3.00')
    """

    result: str
    pattern: str

    @property
    def text(self) -> str:
        return self.pattern.replace("{", "").replace("}", "")

    def worked(self, numbers: dict[str, float], *, digits: int) -> str:
        """The formula with numbers in place of their names."""
        shown = {name: f"{number:.{digits}f}" for name, number in numbers.items()}
        return self.pattern.format(**shown).replace("+ -", "- ")


def formulas_of(rung: str, convention: Convention) -> tuple[Formula, ...]:
    """How a step of a rung is worked out, in the order in which it is done.

    >>> [f"{formula.result} = {formula.text}" for formula in formulas_of("gru", "torch")][1:3]
    ['z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)', 'n = tanh(W_in x + b_in + r * (W_hn h + b_hn))']
    """
    if rung == "smoothing":
        return Formula("z", "sigmoid({a_z})"), Formula("n", _sum(rung, "n", convention)), _carried(convention)
    if rung == "rnn":
        return (Formula("h'", f"tanh({_sum(rung, 'n', convention)})"),)
    if rung == "lstm":
        gates = [Formula(gate, f"sigmoid({_sum(rung, gate, convention)})") for gate in "ifo"]
        candidate = Formula("g", f"tanh({_sum(rung, 'g', convention)})")
        return (*gates, candidate, Formula("c'", "{f} * {c} + {i} * {g}"), Formula("h'", "{o} * tanh({c'})"))
    z, n = Formula("z", f"sigmoid({_sum(rung, 'z', convention)})"), _sum(rung, "n", convention)
    if rung == "adaptive":
        return z, Formula("n", n), _carried(convention)
    after = _carried(convention)
    if rung == "no_carry":
        after = Formula("h'", "{z} * {n}" if convention == "paper" else "(1 - {z}) * {n}")
    reset = (Formula("r", f"sigmoid({_sum(rung, 'r', convention)})"),) if "r" in GATES[rung] else ()
    return (*reset, z, Formula("n", f"tanh({n})"), after)


def numbers_of(layer: Layer, done: Step, unit: int, convention: Convention) -> dict[str, float]:
    """Every number of one unit's step (row 0), under the names that the formulas use; `unit` counts from 0."""
    size = layer.hidden_size
    numbers: dict[str, float] = {"h": float(done.before[0, unit]), "h'": float(done.after[0, unit])}
    if layer.rung == "lstm":
        numbers |= {"c": float(done.before[0, size + unit]), "c'": float(done.after[0, size + unit])}
    for k, gate in enumerate(layer.gates):
        is_turned = gate == "z" and convention == "torch"
        sign, value = (-1.0, 1.0 - float(done.gates[0, k, unit])) if is_turned else (1.0, float(done.gates[0, k, unit]))
        if layer.rung != "rnn":
            numbers[gate] = value
        bias_of_x, bias_of_h = (sign * float(bias[k, unit]) for bias in (layer.bias_of_x, layer.bias_of_h))
        if layer.rung == "smoothing" and gate == "z":
            numbers["a_z"] = bias_of_x
            continue
        names = _names(layer.rung, gate, convention)
        is_split = convention == "torch" or (layer.rung == "gru" and gate == "n")
        own = (sign * float(done.of_x[0, k, unit]), bias_of_x if is_split else bias_of_x + bias_of_h)
        of_h = (sign * float(done.of_h[0, k, unit]), bias_of_h)
        numbers |= dict(zip(names, (*own, *of_h), strict=False))
    return {name: number + 0.0 for name, number in numbers.items()}  # no -0


def words_of(rung: str, convention: Convention) -> tuple[str, ...]:
    """What a reader of the formulas has to know: which way z points, how many biases there are, where the reset gate acts."""
    said = []
    if rung not in ("rnn", "lstm"):
        stays = "z is the share of the old state that stays (torch.nn.GRU); alpha of smoothing would be 1 - z."
        enters = "z is the share of the candidate that enters (Chung et al. 2014), as alpha of smoothing is of the value."
        said.append(stays if convention == "torch" else enters)
    if rung == "rnn":
        said.append("There are two biases, of which this rung has no second." if convention == "torch" else "There is one bias.")
    elif rung not in LINEAR:
        is_torch = rung in ("gru", "lstm")
        one = f"Each gate has one bias{', the sum of the two that torch has' if is_torch else ''}"
        two = f"Each gate has two biases{'' if is_torch else ', of which this rung has no second'}"
        inner = "; the candidate keeps a second one, c_n, inside the bracket that r scales" if rung == "gru" else ""
        said.append(f"{two}." if convention == "torch" else f"{one}{inner}.")
    if rung == "gru":
        said.append("The reset gate acts after the product, r * (U h), as in torch; U (r * h) is rung gru_reset_before.")
    if rung == "gru_reset_before":
        said.append("The reset gate acts before the product, U (r * h), as in both papers; r * (U h), torch's, is rung gru.")
    return tuple(said)


def _carried(convention: Convention) -> Formula:
    return Formula("h'", "(1 - {z}) * {h} + {z} * {n}" if convention == "paper" else "(1 - {z}) * {n} + {z} * {h}")


def _sum(rung: str, gate: str, convention: Convention) -> str:
    """The sum that stands in the brackets of a gate."""
    names = [f"{{{name}}}" for name in _names(rung, gate, convention)]
    if rung == "gru" and gate == "n":
        return f"{names[0]} + {names[1]} + {{r}} * ({names[2]} + {names[3]})"
    return " + ".join(names)


def _names(rung: str, gate: str, convention: Convention) -> tuple[str, ...]:
    """What the numbers of a sum are called: W x, the bias beside it, U h, and the bias beside that."""
    h = "(r*h)" if rung == "gru_reset_before" and gate == "n" else "h"
    if convention == "torch":
        names = (f"W_i{gate} x", f"b_i{gate}", f"W_h{gate} {h}", f"b_h{gate}")
        if rung == "rnn":
            names = ("W_ih x", "b_ih", "W_hh h", "b_hh")
        return names[:2] if rung in LINEAR else names
    if rung == "rnn":
        return "W x", "b", "U h"
    names = (f"W_{gate} x", f"b_{gate}", f"U_{gate} {h}", f"c_{gate}")
    if rung in LINEAR:
        return names[:2]
    return names if rung == "gru" and gate == "n" else names[:3]
