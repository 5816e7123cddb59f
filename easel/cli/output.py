"""What the command prints: results on standard output, everything else on standard error."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import rich.console
from rich.table import Table
from rich.text import Text

results = rich.console.Console(highlight=False, soft_wrap=True)
remarks = rich.console.Console(highlight=False, soft_wrap=True, stderr=True)


def say(remark: str) -> None:
    """A remark for the person at the terminal, exactly as it is."""
    remarks.print(remark, markup=False)


def show(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table as wide as its rows, whatever the terminal's width: ids are there to be copied."""
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(Text(_written(value)) for value in row))
    table.width = results.measure(table, options=results.options.update(max_width=1000)).maximum
    results.print(table)


def _written(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return "" if value is None else str(value)
