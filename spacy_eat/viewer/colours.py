"""Colours of labels: the same label has the same colour everywhere, whatever its name."""

import re
from collections.abc import Iterable
from hashlib import blake2b

HUES = 24  # steps of the colour circle, each 15 degrees
# Text, as of `--eat-text` in view.css: lightness in percent, light and dark.
TEXT = (11, 95)
# (saturation, lightness) in percent: backgrounds and lines, light and dark.
BACKGROUND = ((88, 88), (44, 22))
INK = ((75, 24), (80, 82))

# Hues of the labels of OntoNotes, CoNLL and UNER. All others have one by their name.
_KNOWN = {
    **dict.fromkeys(("PER", "PERSON"), 18),
    **dict.fromkeys(("LOC", "LOCATION"), 1),
    **dict.fromkeys(("ORG", "ORGANIZATION", "ORGANISATION"), 12),
    "GPE": 3,
    "FAC": 9,
    "NORP": 20,
    "PRODUCT": 7,
    "EVENT": 5,
    "WORK_OF_ART": 22,
    "LAW": 23,
    "LANGUAGE": 21,
    **dict.fromkeys(("DATE", "TIME"), 14),
    **dict.fromkeys(("MONEY", "QUANTITY", "ORDINAL", "CARDINAL", "PERCENT"), 16),
    "MISC": 10,
}
# What CSS colours and gradients are made of; nothing that could end a declaration, or load anything.
_COLOUR = re.compile(r"(?!.*(?:url|image|image-set|var)\s*\()[\w#%.,()\s/-]+", re.IGNORECASE)


def hue_of(label: str) -> int:
    """RETURNS (int): The hue of a label, below `HUES`."""
    known = _KNOWN.get(label.upper())
    if known is not None:
        return known
    return blake2b(label.upper().encode("utf-8", "replace"), digest_size=2).digest()[0] % HUES


class Colours:
    """Classes of labels for `class="..."`, and the CSS behind those that a user has coloured.

    chosen (Optional[Mapping[str, str]]): CSS colours by label, as of displaCy.
    RAISES (ValueError): If one is none.
    """

    def __init__(self, chosen: dict[str, str] | None = None) -> None:
        self.chosen = chosen or {}
        for label, colour in self.chosen.items():
            if not _COLOUR.fullmatch(colour):
                raise ValueError(f"The colour {colour!r} of {label!r} is not a CSS colour, such as #7aecec")

    def __getitem__(self, label: str) -> str:
        if label in self.chosen:
            return "eat-x" + blake2b(self.chosen[label].encode(), digest_size=4).hexdigest()
        return f"eat-h{hue_of(label)}" if label else "eat-none"

    def css(self) -> str:
        """RETURNS (str): Rules of the chosen colours."""
        return "".join(
            f".eat .{self[label]}{{--eat-bg:{colour};--eat-fg:{_text_on(colour)};"
            f"--eat-ink:{_first(colour)}}}\n"
            for label, colour in self.chosen.items()
        )


def css() -> str:
    """RETURNS (str): Rules of all hues."""

    def pair(values: tuple[tuple[int, int], tuple[int, int]], hue: int) -> str:
        light, dark = (f"hsl({hue} {saturation}% {lightness}%)" for saturation, lightness in values)
        return f"light-dark({light},{dark})"

    return "".join(
        f".eat .eat-h{step}{{--eat-bg:{pair(BACKGROUND, step * 360 // HUES)};"
        f"--eat-ink:{pair(INK, step * 360 // HUES)}}}\n"
        for step in range(HUES)
    )


def contrast(one: Iterable[float], other: Iterable[float]) -> float:
    """Contrast ratio of two colours, red, green and blue from 0.0 to 1.0 (WCAG 2.2, "contrast ratio").

    RETURNS (float): 1.0 to 21.0.
    """

    def luminance(colour: Iterable[float]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _text_on(colour: str) -> str:
    """Black or white, whichever reads better on the first colour of a gradient."""
    match = re.search(r"#([0-9a-f]{6}|[0-9a-f]{3})\b", colour, re.IGNORECASE)
    if match is None:
        return "#111"
    digits = match[1] if len(match[1]) == 6 else "".join(d * 2 for d in match[1])
    rgb = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    return "#111" if contrast(rgb, (0.07, 0.07, 0.07)) >= contrast(rgb, (1, 1, 1)) else "#fff"


def _first(colour: str) -> str:
    """A plain colour for lines: the first of a gradient."""
    match = re.search(r"#[0-9a-f]{3,8}\b", colour, re.IGNORECASE)
    return match[0] if match else "currentColor" if "gradient" in colour else colour
