"""Small charts as inline SVG. Colours come from report.css; every chart says in words what it shows."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

SIZE = 260  # of the plot, in units of the SVG
MARGIN = 52  # for the numbers and names of the axes


class Line(NamedTuple):
    """A line of a chart.

    points (Sequence[Tuple[float, float]]): 0.0 to 1.0.
    name (str): For the legend.
    style (str): Its CSS class.
    sizes (Sequence[float]): Radius of each point, in units of the SVG; empty for a line without points.
    """

    points: Sequence[tuple[float, float]]
    name: str
    style: str
    sizes: Sequence[float] = ()


def chart(
    lines: Sequence[Line], title: str, x_name: str, y_name: str, *, diagonal: bool = False, summary: str = ""
) -> str:
    """Lines over axes from 0 to 1.

    diagonal (bool): Whether to draw where both axes are equal.
    summary (str): What it shows, for those who do not see it.
    RETURNS (str): A figure.
    """
    whole = SIZE + 2 * MARGIN
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _at((tick, tick))
        number = f"{tick:g}"
        parts += [
            f'<path class="grid" d="M{x},{MARGIN} V{MARGIN + SIZE} M{MARGIN},{y} H{MARGIN + SIZE}"/>',
            f'<text x="{x}" y="{MARGIN + SIZE + 18}" text-anchor="middle">{number}</text>',
            f'<text x="{MARGIN - 8}" y="{y + 4}" text-anchor="end">{number}</text>',
        ]
    if diagonal:
        parts.append(f'<path class="diagonal" d="M{MARGIN},{MARGIN + SIZE} L{MARGIN + SIZE},{MARGIN}"/>')
    for line in lines:
        places = [_at(point) for point in line.points]
        path = " L".join(f"{x},{y}" for x, y in places)
        parts.append(f'<path class="line {line.style}" d="M{path}"/>' if path else "")
        parts += [
            f'<circle class="{line.style}" cx="{x}" cy="{y}" r="{size:.1f}"/>'
            for (x, y), size in zip(places, line.sizes, strict=False)
        ]
    middle = MARGIN + SIZE / 2
    parts += [
        f'<text class="name" x="{middle}" y="{whole - 6}" text-anchor="middle">{escape(x_name)}</text>',
        f'<text class="name" transform="rotate(-90 12 {middle})" x="12" y="{middle}" text-anchor="middle">'
        f"{escape(y_name)}</text>",
    ]
    legend = "".join(
        f'<span class="{line.style}"><svg viewBox="0 0 24 8" aria-hidden="true">'
        f'<path class="line {line.style}" d="M1,4 H23"/></svg>{escape(line.name)}</span>'
        for line in lines
    )
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg role="img" aria-label="{escape(f"{title}. {summary}")}" viewBox="0 0 {whole} {whole}">'
        f'{"".join(parts)}</svg><div class="lines">{legend}</div></figure>'
    )


def bar(share: float, low: float | None = None, high: float | None = None, style: str = "this") -> str:
    """A bar from 0 to 1, with an interval where there is one. What it shows must stand beside it in words.

    RETURNS (str): An SVG.
    """
    whisker = ""
    if low is not None and high is not None:
        a, b = 100 * low, 100 * high
        whisker = f'<path class="whisker" d="M{a:.1f},6 H{b:.1f} M{a:.1f},3 V9 M{b:.1f},3 V9"/>'
    return (
        '<svg class="bar" aria-hidden="true" viewBox="0 0 100 12" preserveAspectRatio="none">'
        '<rect class="track" width="100" height="12"/>'
        f'<rect class="{style}" width="{100 * share:.1f}" height="12"/>'
        f"{whisker}</svg>"
    )


def _at(point: tuple[float, float]) -> tuple[float, float]:
    x, y = point
    return round(MARGIN + SIZE * x, 1), round(MARGIN + SIZE * (1 - y), 1)
