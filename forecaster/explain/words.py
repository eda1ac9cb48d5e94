"""Traces, time scales and smoothness as lines of plain text, for a terminal or a file."""

import math
from collections.abc import Sequence

from forecaster.explain.smoothness import Smoothness, smoothness_verdict
from forecaster.explain.timescales import Timescales, UnitScale, agreement_verdict, claim_verdict, half_life
from forecaster.explain.trace import Trace, TracedStep

DIGITS = 6  # half a unit of the last one for each number that goes in: a result comes out again to two
INPUTS_SHOWN = 24
LEADS_SHOWN = 8
EXTREMES_SHOWN = 3
BAR = 40
UNITS_OF_TIME = (
    (1 / 86_400, "seconds"),
    (1 / 1_440, "minutes"),
    (1 / 24, "hours"),
    (1.0, "days"),
    (30.4375, "months"),
    (365.25, "years"),
)


def duration(steps: float, step_days: float | None) -> str:
    """So many steps, in a unit of time that leaves a number a reader can hold; empty where steps have no length.

    >>> duration(36, 1 / 24), duration(0.5, 30.4375), duration(3, None), duration(math.inf, 1.0)
    ('36.0 hours', '15.2 days', '', 'for ever')
    """
    if step_days is None:
        return ""
    if math.isinf(steps):
        return "for ever"
    days = steps * step_days
    size, name = next(((s, n) for s, n in reversed(UNITS_OF_TIME) if days >= 2 * s), UNITS_OF_TIME[0])
    return f"{days / size:.1f} {name}"


def trace_lines(trace: Trace) -> list[str]:
    """The worked calculation: the inputs, then for each unit every formula, the same in numbers, and what comes out."""
    place = f"member {trace.member} of {trace.members}, layer {trace.layer} of {trace.layers}"
    shown = len(trace.steps[0].units)
    counted = f"{shown} of {trace.hidden_size} units" if shown < trace.hidden_size else f"{shown} units"
    lines = [f"{trace.unique_id} through {trace.rung}: {place}, {counted}, --convention {trace.convention}"]
    lines += [f"  {word}" for word in trace.words]
    for number, one in enumerate(trace.steps, start=1):
        y = "nothing observed" if one.y is None else f"y = {one.y:g}"
        lines += ["", f"step {number} of {len(trace.steps)}: {one.timestamp}, {y}", *_input_lines(trace, one)]
        lines += ["", *_table_lines(one)]
        for unit in one.units:
            lines += ["", f"  unit {unit.unit}", *_worked(trace, unit.numbers)]
        lines += ["", f"  the network itself, in float32, ends this step within {one.difference:.0e} of these states"]
    return lines


def _input_lines(trace: Trace, one: TracedStep) -> list[str]:
    """What the layer saw; of many, the largest."""
    order = sorted(range(len(one.x)), key=lambda d: -abs(one.x[d]))[:INPUTS_SHOWN]
    width = max(len(trace.inputs[d]) for d in order)
    more = f", the largest {len(order)} of {len(one.x)}" if len(order) < len(one.x) else ""
    return [f"  x{more}", *(f"    {trace.inputs[d]:<{width}}  {one.x[d]:>{DIGITS + 4}.{DIGITS}f}" for d in sorted(order))]


def _table_lines(one: TracedStep) -> list[str]:
    """What came out of each unit's formulas, and what there is to see."""
    names = [name for name in ("r", "z", "i", "f", "o", "n", "g", "c", "c'", "h", "h'") if name in one.units[0].numbers]
    lines = ["  " + f"{'unit':>6}" + "".join(f"{name:>{DIGITS + 5}}" for name in names)]
    for unit in one.units:
        numbers = "".join(f"{unit.numbers[name]:>{DIGITS + 5}.{DIGITS}f}" for name in names)
        lines.append(f"  {unit.unit:>6}{numbers}   {unit.sentence}")
    return lines


def _worked(trace: Trace, numbers: dict[str, float]) -> list[str]:
    width = max(len(formula.text) for formula in trace.formulas)
    side = max(len(formula.result) for formula in trace.formulas)
    return [
        f"    {formula.result:<{side}} = {formula.text:<{width}} = {formula.worked(numbers, digits=DIGITS)}"
        f" = {numbers[formula.result]:.{DIGITS}f}"
        for formula in trace.formulas
    ]


# -- time scales -----------------------------------------------------------------------------------------------------------------


def timescales_lines(found: Timescales, *, is_whole: bool = False) -> list[str]:
    """The distribution of half-lives, its ends (or every unit), the baseline beside it, and what may be concluded."""
    quantiles = found.quantiles()
    middle = quantiles[0.5]
    lines = [
        f"{len(found.units)} units of {found.rung} (members: {found.members}, layers: {found.layers}), "
        f"{found.series_count:,} series, {found.steps:,} steps",
        f"half-life: {_long(middle, found)} in the middle, {_long(quantiles[0.1], found)} to {_long(quantiles[0.9], found)} for "
        "four units of five",
        "",
        *_histogram_lines(found),
        "",
        *_unit_lines(found, is_whole=is_whole),
    ]
    if found.series:
        lines += ["", *_series_lines(found)]
    return [*lines, "", agreement_verdict(found), claim_verdict(found)]


def _histogram_lines(found: Timescales) -> list[str]:
    bins = found.histogram()
    most = max(count for _, _, count in bins)
    lines = [f"{'half-life in steps':<22}{'':<24}units"]
    for low, high, count in bins:
        span = f"below {high:g}" if low == 0 else f"{low:,g} and more" if math.isinf(high) else f"{low:,g} to {high:,g}"
        time = duration(low, found.step_days)
        bar = "█" * round(BAR * count / most) or ("▏" if count else "")
        lines.append(f"{span:<22}{f'from {time}' if time and low else '':<24}{count:>5} {bar}".rstrip())
    return lines


def _unit_lines(found: Timescales, *, is_whole: bool) -> list[str]:
    """A table of units, the shortest memory first; without `is_whole` the ends of it."""
    order = sorted(found.units, key=lambda unit: -unit.alpha)
    has_reset = any(unit.r_mean is not None for unit in order)
    named = found.members > 1 or found.layers > 1
    head = f"{'member.layer.unit' if named else 'unit':>17}{'alpha':>10}{'half-life':>12}  {'':<14}"
    head += f"{'1 - f' if found.rung == 'lstm' else 'z':>7}{'± ':>8}{'replaced':>10}"
    lines = [f"{head}{'r':>8}{'reset':>9}" if has_reset else head]
    cut = len(order) if is_whole or len(order) <= 2 * EXTREMES_SHOWN else EXTREMES_SHOWN
    lines += [_unit_line(unit, found, named=named) for unit in order[:cut]]
    if cut < len(order):
        lines += [f"{'…':>17}", *(_unit_line(unit, found, named=named) for unit in order[-cut:])]
    reset = "; reset: of how many r is a tenth or less" if has_reset else ""
    return [*lines, f"replaced: at how many of the steps nine tenths or more of the state go{reset}"]


def _unit_line(unit: UnitScale, found: Timescales, *, named: bool) -> str:
    name = f"{unit.member}.{unit.layer}.{unit.unit}" if named else str(unit.unit)
    time = duration(unit.half_life, found.step_days)
    line = f"{name:>17}{unit.alpha:>10.4f}{unit.half_life:>12,.1f}  {time:<14}{unit.z_mean:>7.3f}{unit.z_spread:>8.3f}"
    line += f"{100 * unit.replaced:>8.1f} %"
    if unit.r_mean is not None and unit.reset is not None:
        line += f"{unit.r_mean:>8.3f}{100 * unit.reset:>7.1f} %"
    return line


def _series_lines(found: Timescales) -> list[str]:
    """Simple smoothing's alpha on each series beside the units' there; of many series, those at the ends and in the middle."""
    order = sorted(found.series, key=lambda one: -one.ses_alpha)
    width = max(len("series"), *(len(one.unique_id) for one in order))
    picked = _spread(len(order), 2 * EXTREMES_SHOWN + 1)
    lines = [f"{'series':<{width}}{'alpha of ses':>14}{'half-life':>12}{'median unit':>14}{'half-life':>12}{'units faster':>14}"]
    for k in picked:
        one = order[k]
        lines.append(
            f"{one.unique_id:<{width}}{one.ses_alpha:>14.4f}{one.ses_half_life:>12,.1f}{one.alpha:>14.4f}{one.half_life:>12,.1f}"
            f"{100 * one.faster:>12.0f} %"
        )
    if len(picked) < len(order):
        middle = order[len(order) // 2].ses_alpha
        lines.append(f"{len(order):,} series in all; the middle one has alpha {middle:.4f}, half-life {half_life(middle):,.1f}")
    return [*lines, "ses, simple exponential smoothing, is fitted to each series, seasonally adjusted where a season is found"]


def _long(steps: float, found: Timescales) -> str:
    time = duration(steps, found.step_days)
    return f"{steps:,.1f} steps" + (f" ({time})" if time else "")


# -- smoothness ------------------------------------------------------------------------------------------------------------------


def smoothness_lines(found: Smoothness) -> list[str]:
    """What each removal costs, over all, by lead and on the series it costs most, and what may be concluded."""
    if not found.removals or not found.ids:
        return [smoothness_verdict(found)]
    name = "sMAPE" if found.measure == "smape" else found.measure.upper()
    width = max(len("intact"), *(len(one.what) for one in found.removals))
    lines = [
        f"{found.rung} on {len(found.ids):,} series, held-out origins: {found.origins} each, horizon {found.horizon}; "
        "weights as they were trained",
        "",
        f"{'':<{width}}{name:>9}{'loss':>10}   95 % interval",
        f"{'intact':<{width}}{found.mean_loss:>9.3f}",
    ]
    for one in found.removals:
        interval = f"{_percent(one.loss.low)} to {_percent(one.loss.high)}" if one.loss.is_tested else "too few to say"
        lines.append(f"{one.what:<{width}}{one.mean_loss:>9.3f}{_percent(one.loss.value):>10}   {interval}")
    leads = _spread(found.horizon, LEADS_SHOWN)
    lines += ["", f"{'loss at lead':<{width}}" + "".join(f"{lead + 1:>9}" for lead in leads)]
    lines += [f"{one.what:<{width}}" + "".join(f"{_percent(one.by_lead[lead]):>9}" for lead in leads) for one in found.removals]
    lines += ["", f"{'loss by series':<{width}}{'least':>9}{'middle':>9}{'most':>9}   on"]
    for one in found.removals:
        order = sorted((loss, k) for k, loss in enumerate(one.by_series) if not math.isnan(loss))
        if order:
            ends = "".join(f"{_percent(order[place][0]):>9}" for place in (0, len(order) // 2, -1))
            lines.append(f"{one.what:<{width}}{ends}   {found.ids[order[-1][1]]}")
    return [*lines, "", smoothness_verdict(found)]


def _percent(share: float) -> str:
    if math.isnan(share):
        return "-"
    if abs(share) < 0.0005:
        return "0.0 %"
    return f"{100 * share:+.1f} %" if abs(share) < 10 else f"{100 * share:+,.0f} %"


def _spread(count: int, most: int) -> Sequence[int]:
    """At most so many places of `count`, evenly spread, both ends among them.

    >>> _spread(48, 4), _spread(2, 4)
    ([0, 16, 31, 47], [0, 1])
    """
    if count <= most:
        return list(range(count))
    return [round(k * (count - 1) / (most - 1)) for k in range(most)]
