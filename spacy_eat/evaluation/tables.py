"""Tables for a terminal."""

import unicodedata
from collections.abc import Sequence


def width(text: str) -> int:
    """Columns a text takes on a terminal: East Asian wide characters take two."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def table(rows: Sequence[Sequence[object]], header: Sequence[str], right: Sequence[str] = ()) -> str:
    """A plain table that stays straight with Chinese and Japanese in it, unlike
    `wasabi.table`, which counts characters.

    rows (Sequence[Sequence[object]]): Cells; None is shown as "-", a float with
        three decimals.
    header (Sequence[str]): A name per column.
    right (Sequence[str]): The columns that are set flush right.
    RETURNS (str): The table, with a line break before and after.
    """

    def cell(value: object) -> str:
        return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)

    lines = [list(header), *([cell(value) for value in row] for row in rows)]
    widths = [max(width(line[i]) for line in lines) for i in range(len(header))]
    lines.insert(1, ["-" * columns for columns in widths])

    def padded(text: str, columns: int, name: str) -> str:
        space = " " * (columns - width(text))
        return space + text if name in right else text + space

    shown = ("   ".join(map(padded, line, widths, header)).rstrip() for line in lines)
    return "\n" + "\n".join(shown) + "\n"
