"""What a page is made of: sections of words, tables and pictures, which the template sets in type.

Nothing here is HTML but the pictures: the template escapes every word.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from forecaster.report.inline import Drawing

MOST_ROWS = 300  # of a table; more make a page heavy, and nobody reads them


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers stand at the right."""

    title: str
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of words and numbers, already told; `marked` are those of who the page is about."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int] = frozenset()
    kind: Literal["table"] = "table"

    @classmethod
    def of(cls, titles: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1, marked: Sequence[int] = ()) -> "Table":
        """A table whose first `words` columns are words; the last row says so where rows are left out."""
        columns = tuple(Column(title, is_number=place >= words) for place, title in enumerate(titles))
        shown = [tuple(row) for row in rows[:MOST_ROWS]]
        if len(rows) > MOST_ROWS:
            shown.append((f"… and {len(rows) - MOST_ROWS:,} more", *[""] * (len(titles) - 1)))
        return cls(columns, tuple(shown), frozenset(marked))


@dataclass(frozen=True)
class Picture:
    """A drawing in one width or two, what it shows, and the same as a table."""

    title: str
    narrow: Markup
    caption: str
    table: Table
    wide: Markup | None = None
    badge: str = ""
    kind: Literal["picture"] = "picture"

    @classmethod
    def of(
        cls,
        name: str,
        title: str,
        draw: Callable[[], Drawing],
        *,
        caption: str,
        table: Table,
        wide: Callable[[], Drawing] | None = None,
        badge: str = "",
    ) -> "Picture":
        """The picture of that name, which no other on the page has."""
        large = wide().to_svg(f"{name}-wide", f"{title}. {caption}") if wide else None
        return cls(title, draw().to_svg(name, f"{title}. {caption}"), caption, table, large, badge)


@dataclass(frozen=True)
class Words:
    """A paragraph; a command beside it is what would fill the gap that it speaks of, and a lead is what the section says."""

    text: str
    command: str = ""
    is_lead: bool = False
    kind: Literal["words"] = "words"


@dataclass(frozen=True)
class Facts:
    """Names and what they stand for."""

    pairs: tuple[tuple[str, str], ...]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True)
class Listing:
    """Lines to be read as they are, behind a heading that opens them."""

    title: str
    text: str
    kind: Literal["listing"] = "listing"


@dataclass(frozen=True)
class Tile:
    """One figure that says much."""

    value: str
    label: str
    note: str = ""


Block = Table | Picture | Words | Facts | Listing


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; pictures that follow each other stand side by side where there is room."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]

    @property
    def rows(self) -> list[list[Block]]:
        """The blocks, pictures of one width that follow each other as one row."""
        rows: list[list[Block]] = []
        for block in self.blocks:
            joins = isinstance(block, Picture) and not block.wide and rows and isinstance(rows[-1][-1], Picture)
            if joins and not rows[-1][-1].wide:  # type: ignore[union-attr]
                rows[-1].append(block)
            else:
                rows.append([block])
        return rows
