"""Texts on one line."""

import re


def one_line(text: str) -> str:
    """The text with every run of white space that has a line break as one space."""
    return re.sub(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", text).strip()
