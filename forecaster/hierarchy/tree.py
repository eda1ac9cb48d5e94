"""Which series add up to what: declared by what never changes in a series, or by a file.

Axes: A sums, B series of the panel; the nodes of a hierarchy are its sums and then its series [A + B].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import yaml

from forecaster.covariates import as_static_text, static_column
from forecaster.errors import ConfigError, DataError
from forecaster.series import Panel, Static

TOTAL = "total"


@dataclass(frozen=True)
class Hierarchy:
    """Sums of series: sum a adds up the series b with `members[a, b] == 1`; the total of all comes first.

    members [A, B] is sparse; a series may take part in any number of sums, so groups may cross (region and category).

    >>> tree = {"north": {"store 1": ["a"], "store 2": ["b"]}, "south": ["c"]}
    >>> made = Hierarchy.from_tree(tree, ("a", "b", "c"))
    >>> made.sums, made.members.toarray()[1]
    (('total', 'north', 'north/store 1', 'north/store 2', 'south'), array([1., 1., 0.]))
    """

    series: tuple[str, ...]
    sums: tuple[str, ...]
    members: sp.csr_array

    @property
    def nodes(self) -> tuple[str, ...]:
        """The sums, and then the series [A + B]."""
        return self.sums + self.series

    @classmethod
    def from_static(cls, panel: Panel, groupings: Sequence[Sequence[str]]) -> "Hierarchy":
        """A sum for each value of each grouping: `region=north`, and `region=north,store=7` of two columns.

        Raises ConfigError for a column that the panel does not have, DataError for a series of which one is not known.
        """
        static = panel.static or Static((), ())
        columns = dict(zip(static.names, static.columns, strict=True))
        groups: dict[str, list[int]] = {TOTAL: list(range(len(panel)))}
        for grouping in groupings:
            for name in grouping:
                if name not in columns:
                    known = ", ".join(columns) or "none; ingest them with --static"
                    raise ConfigError(f"--by {','.join(grouping)}: no column {name!r} that never changes; the panel has {known}.")
            for b, unique_id in enumerate(panel.ids):
                cells = {name: as_static_text(columns[name][b]) for name in grouping}
                if unknown := [name for name, cell in cells.items() if not cell]:
                    raise DataError(f"series {unique_id!r} has no {unknown[0]}; expected one for each series. Ingest it anew.")
                groups.setdefault(",".join(f"{name}={cell}" for name, cell in cells.items()), []).append(b)
        return _made(panel.ids, groups)

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], ids: Sequence[str], *, source: str = "the tree") -> "Hierarchy":
        """Sums named by their path, from names that hold names or, at the leaves, lists of series.

        Raises ConfigError for what is no tree, for a series that is not in `ids`, and for one that is there twice or not at all.
        """
        place = {unique_id: b for b, unique_id in enumerate(ids)}
        groups: dict[str, list[int]] = {TOTAL: []}
        _walk(tree, (), groups, place, source)
        counts = np.bincount(groups[TOTAL], minlength=len(ids))
        for b in np.flatnonzero(counts != 1)[:1]:
            found = "not there" if counts[b] == 0 else "there twice"
            raise ConfigError(f"{source}: series {ids[b]!r} is {found}; expected each series of the panel once. Mend the file.")
        return _made(tuple(ids), groups)


def read_tree(path: Path) -> Mapping[str, Any]:
    """The tree in a YAML file; raises ConfigError when there is none."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--tree {path}: cannot be read ({' '.join(str(error).split())}). Give a YAML file.") from None
    if not isinstance(tree, dict) or not tree:
        raise ConfigError(f"--tree {path}: expected names that hold names or lists of series, such as `north: [a, b]`.")
    return tree


def with_sums(panel: Panel, hierarchy: Hierarchy) -> Panel:
    """The sums and the series as one panel [A + B], in the order of the nodes: for `Forecaster.predict`, not for the store.

    Before a series begins it adds nothing; where one of its series was not observed, a sum was not observed. What never changes
    is unknown for sums. Raises DataError when a series ends before the others, since a sum of different times is none, and when
    the panel has covariates, whose sums mean nothing.
    """
    last = int(panel.ends.max())
    if early := np.flatnonzero(panel.ends < last)[:1].tolist():
        ended, now = panel.frequency.labels(np.array([panel.ends[early[0]], last]))
        raise DataError(
            f"series {panel.ids[early[0]]!r} ends at {ended}, others at {now}; sums need one end. Ingest what is missing, or "
            "leave the series out with --only."
        )
    if panel.known is not None:
        raise DataError(
            f"the panel has covariates ({', '.join(panel.known.names)}), which sums have not; expected none. "
            "Use --method bottom_up."
        )
    table = panel.matrix()  # [B, T], NaN before a series begins
    width = table.shape[1]
    begun = np.arange(width) >= width - panel.lengths[:, None]
    sums = hierarchy.members @ np.where(begun & ~np.isnan(table), table, 0.0)
    sums[hierarchy.members @ (begun & np.isnan(table)).astype(float) > 0] = np.nan
    lengths = (hierarchy.members @ begun.astype(float) > 0).sum(axis=1)
    values = [row[width - n :] for row, n in zip(sums, lengths, strict=True)]
    starts = np.concatenate([last - lengths + 1, panel.starts])
    offsets = np.concatenate([[0], np.cumsum(lengths), lengths.sum() + panel.offsets[1:]])
    static = _beside_unknown(panel.static, len(lengths)) if panel.static else None
    whole = np.concatenate([*values, panel.values])
    return replace(panel, ids=hierarchy.nodes, starts=starts, offsets=offsets, values=whole, static=static)


def _made(ids: tuple[str, ...], groups: Mapping[str, list[int]]) -> Hierarchy:
    if both := sorted(set(groups) & set(ids)):
        raise DataError(f"{both[0]!r} is the name of a sum and of a series; expected different names. Rename the series.")
    rows = np.repeat(np.arange(len(groups)), [len(members) for members in groups.values()])
    columns = np.concatenate([np.asarray(members, dtype=np.int64) for members in groups.values()])
    members = sp.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(groups), len(ids)))
    return Hierarchy(tuple(ids), tuple(groups), members)


def _walk(node: Any, path: tuple[str, ...], groups: dict[str, list[int]], place: Mapping[str, int], source: str) -> None:
    """Put the series below a node into the group of each name above them."""
    where = "/".join(path) or "the top"
    if isinstance(node, Mapping):
        for name, inner in node.items():
            below = (*path, str(name))
            if groups.setdefault("/".join(below), []):
                raise ConfigError(f"{source}: {'/'.join(below)!r} is there twice; expected different names. Rename one.")
            _walk(inner, below, groups, place, source)
    elif isinstance(node, list):
        for name in map(str, node):
            if name not in place:
                raise ConfigError(f"{source}: {where} holds {name!r}, which is no series of the panel. Mend the file.")
            for depth in range(len(path) + 1):
                groups["/".join(path[:depth]) or TOTAL].append(place[name])
    else:
        raise ConfigError(f"{source}: {where} holds {node!r}; expected names, or a list of series. Mend the file.")


def _beside_unknown(static: Static, sums: int) -> Static:
    columns = (static_column([*[None] * sums, *(None if cell == "" else cell for cell in column)]) for column in static.columns)
    return Static(static.names, tuple(columns))
