"""`Lexicon`: names of files found in texts, from the cache."""

import pytest

from spacy_eat.corpora import CorpusError
from spacy_eat.corpora.names import Name
from spacy_eat.lexicon import Lexicon
from spacy_eat.types import Text

pytest.importorskip("ahocorasick")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPACY_EAT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def lexicon(folder, content, name="names.tsv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return Lexicon([str(path)])


def test_all_names_at_all_places(tmp_path):
    found = lexicon(tmp_path, "東京\tTokyo\n京都\tKyoto\n# a remark\n\n").find(Text("东京和東京都。", "zh"))
    assert [(match.start_char, match.end_char) for match in found] == [(0, 2), (3, 5), (4, 6)]
    assert found[0].names == (Name("東京", "Tokyo"),)


def test_duplicate_keys_are_one_ambiguous_name(tmp_path):
    rows = '{"name": "花", "english": "Hana", "type": "fem"}\n{"name": "花", "english": "Flower"}\n'
    names = lexicon(tmp_path, rows + rows, "names.jsonl").look_up("花")
    assert names == (Name("花", "Hana", "fem"), Name("花", "Flower"))


def test_it_is_made_once_for_each_content(tmp_path, cache):
    assert len(lexicon(tmp_path, "東京\tTokyo\n")) == 1
    (made,) = cache.glob("lexicon-*[0-9a-f]")
    before = made.stat().st_mtime_ns
    assert len(lexicon(tmp_path, "東京\tTokyo\n")) == 1 and made.stat().st_mtime_ns == before
    assert len(lexicon(tmp_path, "東京\tTokyo\n京都\tKyoto\n")) == 2


def test_no_name_within_a_word(tmp_path):
    names = lexicon(tmp_path, "Ann\tAnn\nクラ\tKura\n")
    assert not names.find(Text("Annex クラブ", "ja")) and names.find(Text("Ann", "ja"))
    assert not names.find(Text("", "ja"))


@pytest.mark.parametrize(
    "name, content, problem",
    [
        ("names.tsv", "東京\tTokyo\n東京\n", r"names\.tsv:2: 1 column, not 2 or 3\. A line of a \.tsv is"),
        ("names.tsv", "東京\t \n", r":1: a name or its English is empty"),
        (
            "names.tsv",
            "東京\tTokyo\n".encode("gb18030"),
            r":1: byte .* is not UTF-8\. Save the file as UTF-8",
        ),
        ("names.jsonl", '{"name": "東京"}\n', r":1: no texts as name, english and type"),
        ("names.jsonl", "東京\n", r":1: not JSON"),
        ("names.csv", "東京,Tokyo\n", r"\.csv is neither \.tsv nor \.jsonl"),
        ("names.tsv", "", "without any names"),
    ],
)
def test_broken_files_are_told_with_the_remedy(tmp_path, cache, name, content, problem):
    with pytest.raises(ValueError, match=problem):
        lexicon(tmp_path, content, name).load()
    assert not list(cache.glob("lexicon-*[0-9a-f]"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CorpusError, match=r"there is no such file.*'cedict', 'jmnedict'"):
        Lexicon([str(tmp_path / "none.tsv")]).load()


def test_a_damaged_cache(tmp_path, cache):
    lexicon(tmp_path, "東京\tTokyo\n").load()
    (made,) = cache.glob("lexicon-*[0-9a-f]")
    (made / "automaton").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"damaged.*Remove this folder"):
        lexicon(tmp_path, "東京\tTokyo\n").load()
