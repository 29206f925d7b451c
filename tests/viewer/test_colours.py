"""Colours that can be told apart from the text on them."""

import re
from colorsys import hls_to_rgb

import pytest

from spacy_eat.viewer import colours
from spacy_eat.viewer.colours import Colours, contrast, hue_of


def hsl(hue: float, saturation: float, lightness: float) -> tuple[float, float, float]:
    return hls_to_rgb(hue / 360, lightness / 100, saturation / 100)


def test_contrast_is_that_of_wcag():
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    assert contrast((0.466, 0.466, 0.466), (1, 1, 1)) == pytest.approx(4.48, abs=0.02)  # #777


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_lines_read_well_on_every_hue(theme):
    """4.5 to 1 is what WCAG 2.2 wants of text (success criterion 1.4.3)."""
    for step in range(colours.HUES):
        hue = step * 360 / colours.HUES
        background = hsl(hue, *colours.BACKGROUND[theme])
        assert contrast(hsl(220, 20, colours.TEXT[theme]), background) > 7
        assert contrast(hsl(hue, *colours.INK[theme]), background) > 4.5, hue


def test_any_label_has_the_same_colour_every_time():
    assert hue_of("PER") == hue_of("PERSON") == hue_of("per") != hue_of("LOC")
    labels = [f"LABEL_{n}" for n in range(500)] + ["病名", "<b>", "\ud800", " "]
    hues = {label: hue_of(label) for label in labels}
    assert set(hues.values()) == set(range(colours.HUES))
    assert {label: hue_of(label) for label in labels} == hues
    rules = colours.css()
    assert all(f".eat-h{hue}{{" in rules for hue in hues.values())
    assert Colours()["GENE"] == f"eat-h{hue_of('GENE')}" and Colours()[""] == "eat-none"


def test_colours_of_the_users_own():
    chosen = Colours({"GENE": "#123", "DRUG": "linear-gradient(90deg, #aa9cfc, #fc9ce7)"})
    rules = chosen.css()
    assert f".{chosen['GENE']}{{--eat-bg:#123;--eat-fg:#fff;" in rules
    assert "linear-gradient(90deg, #aa9cfc, #fc9ce7);--eat-fg:#111;--eat-ink:#aa9cfc}" in rules
    assert chosen["PER"] == Colours()["PER"]


@pytest.mark.parametrize(
    "colour", ["red;}", "url(http://x)", "</style>", "", "a{b", "URL (x)", "image-set(x)"]
)
def test_colours_that_are_none(colour):
    with pytest.raises(ValueError, match="not a CSS colour"):
        Colours({"X": colour})


def test_the_stylesheet_has_the_text_colours_that_are_tested():
    from spacy_eat.viewer.markup import stylesheet

    light, dark = colours.TEXT
    assert re.search(
        rf"--eat-text: light-dark\(hsl\(220 20% {light}%\), hsl\(220 20% {dark}%\)\)", stylesheet()
    )
