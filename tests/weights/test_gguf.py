"""The tokenizer of a GGUF file."""

import pytest

from spacy_eat.weights.gguf import BYTE, CONTROL, NORMAL, USER_DEFINED, build_tokenizer, last_merge

pytest.importorskip("tokenizers", reason="needs the extra 'embedded'")

TOKENS = [
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "\n",
    "\n\n",
    "  ",
    "a",
    "b",
    "c",
    "▁",
    "ab",
    "bc",
    "abc",
    "▁a",
    "▁ab",
]
SCORES = [-1000.0] * 7 + [-30.0 - i for i in range(4)] + [-2.0, -1.0, -3.0, -4.0, -5.0]
KINDS = [CONTROL] * 4 + [USER_DEFINED] * 3 + [NORMAL] * 9


@pytest.fixture(scope="module")
def tiny_tokenizer():
    tokens = TOKENS + [f"<0x{n:02X}>" for n in range(256)]
    return build_tokenizer(tokens, SCORES + [0.0] * 256, KINDS + [BYTE] * 256, unk="<unk>", bos="<bos>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ab", ["ab"]),
        ("abc", ["abc"]),
        ("abca", ["abc", "a"]),
        ("aab", ["a", "ab"]),
        ("cab", ["c", "ab"]),
        (" ab", ["▁ab"]),
        ("a  b", ["a", "▁▁", "b"]),
        ("a\n\n\nb", ["a", "\n\n", "\n", "b"]),
        ("a京", ["a", "<0xE4>", "<0xBA>", "<0xAC>"]),
    ],
)
def test_merges_follow_the_scores(tiny_tokenizer, text, expected):
    encoding = tiny_tokenizer.encode(text)
    assert encoding.tokens == ["<bos>", *expected]
    assert tiny_tokenizer.decode(encoding.ids[1:]) == text


def test_last_merge():
    scores = dict(zip(TOKENS, SCORES, strict=True))
    assert last_merge("▁ab", scores) == ("▁", "ab")
    assert last_merge("ab", scores) == ("a", "b")
    assert last_merge("abc", {**scores, "ab": -0.5}) == ("ab", "c")
    assert last_merge("abc", {**scores, "bc": -0.5}) == ("a", "bc")
    assert last_merge("a", scores) is None
    assert last_merge("cc", {"c": -1.0, "cc": -2.0}) == ("c", "c")
    assert last_merge("ccb", {"ccb": -2.0}) is None
