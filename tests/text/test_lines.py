from spacy_eat.text.lines import one_line


def test_one_line():
    assert one_line(" a \r\n b\u2028c  d\x0b\n") == "a b c  d"
