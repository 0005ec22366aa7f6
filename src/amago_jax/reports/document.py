"""A document of headings, texts, tables and pictures, as Markdown, CSV or one HTML page."""

import base64
import csv
import dataclasses
import html
import io
import math
from collections.abc import Sequence
from pathlib import Path

from amago_jax.reports.statistics import Estimate

Cell = str | int | float | Estimate | None

STYLE = """
:root { color-scheme: light dark; --line: #8884; --stripe: #8881; --wide: 70rem }
body { font: 16px/1.5 system-ui, sans-serif; max-width: var(--wide); margin: 2rem auto;
  padding: 0 1rem }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .75rem }
.table { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .9rem }
th, td { padding: .35rem .75rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; font-variant-numeric: tabular-nums }
td.number { text-align: right; white-space: nowrap }
th { border-bottom-width: 2px }
tbody tr:nth-child(even) { background: var(--stripe) }
img { max-width: 100%; background: #fff; border-radius: .5rem }
"""


@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading, of the whole document at level 1."""

    text: str
    level: int = 2


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG file, and what it shows in words."""

    path: Path
    words: str


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text, numbers, estimates with their intervals, and gaps.

    Attributes:
        columns: their names.
        rows: a cell per column; None is a gap.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def only(self, column: str, value: str) -> "Table":
        """Return the rows that hold a value in a column, without that column."""
        at = self.columns.index(column)
        rows = [[*row[:at], *row[at + 1 :]] for row in self.rows if row[at] == value]
        return Table([*self.columns[:at], *self.columns[at + 1 :]], rows)


Block = Heading | Text | Picture | Table


def markdown(blocks: Sequence[Block], folder: Path) -> str:
    """Write a document in Markdown.

    Args:
        blocks: of the document.
        folder: where it will lie, for its pictures' sake.

    Returns:
        The text.
    """
    return "\n\n".join(_markdown(block, folder) for block in blocks) + "\n"


def page(blocks: Sequence[Block], title: str) -> str:
    """Write a document as a page of HTML that holds its pictures and needs nothing else."""
    body = "\n".join(_html(block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def comma_separated(table: Table) -> str:
    """Write a table as CSV: an estimate is three columns, its value and its interval's ends."""
    wide = {
        name
        for at, name in enumerate(table.columns)
        if any(isinstance(row[at], Estimate) for row in table.rows)
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = ("", " low", " high")
    writer.writerow([n + end for n in table.columns for end in (ends if n in wide else ends[:1])])
    for row in table.rows:
        cells: list[Cell] = []
        for name, cell in zip(table.columns, row, strict=True):
            if isinstance(cell, Estimate):
                cells += dataclasses.astuple(cell)
            else:
                cells += [cell, None, None] if name in wide else [cell]
        writer.writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue()


def shown(cell: Cell) -> str:
    """Show a cell: numbers as short as they can be read, an estimate with its interval."""
    if cell is None:
        return ""
    if isinstance(cell, Estimate):
        if cell.low is None or cell.high is None:
            return f"{_number(cell.value)} (one seed)"
        return f"{_number(cell.value)} [{_number(cell.low)}, {_number(cell.high)}]"
    return cell if isinstance(cell, str) else _number(cell)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    whole = (
        isinstance(value, int) or abs(value) >= 1000 or (value.is_integer() and abs(value) >= 10)
    )
    if whole:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _markdown(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Picture):
        return f"![{block.words}]({block.path.relative_to(folder).as_posix()})"
    if isinstance(block, Table):
        lines = [block.columns, ["---"] * len(block.columns)]
        lines += [[shown(cell).replace("|", "\\|") for cell in row] for row in block.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return block.text


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Picture):
        data = base64.b64encode(block.path.read_bytes()).decode()
        words = html.escape(block.words)
        return f'<p><img alt="{words}" src="data:image/png;base64,{data}"></p>'
    if isinstance(block, Table):
        head = "".join(f"<th>{html.escape(name)}</th>" for name in block.columns)
        body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in block.rows)
        return (
            f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}\n</tbody>\n</table></div>"
        )
    return f"<p>{html.escape(block.text)}</p>"


def _cell(cell: Cell) -> str:
    kind = "" if cell is None or isinstance(cell, str) else ' class="number"'
    return f"<td{kind}>{html.escape(shown(cell))}</td>"
