import pytest

from spacy_eat import languages
from spacy_eat.alignment.locate import complete, find, stands_free
from spacy_eat.languages import guess_language
from spacy_eat.llm.tasks.checks import with_stop
from spacy_eat.types import Span, Text


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(languages, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", sorted(languages.FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_can_be_read_and_its_patterns_used(path):
    language = languages.load(path.stem)
    assert language is languages.load(f"{path.stem}-XX") and language.name
    patterns = "prefix", "suffix", "particle", "rank", "rank_before", "rank_after", "joins"
    for pattern in (*patterns, "completes_before", "completes_after"):
        assert getattr(language, pattern).search("\x00") is None


@pytest.mark.parametrize("lang", ["zh", "ja", "th", "lo", "km", "my"])
def test_languages_without_spaces(lang):
    assert not languages.load(lang).spaces


@pytest.mark.parametrize(
    "texts, expected",
    [
        (["联想集团在北京"], "zh"),
        (["1889年創業", "京都の会社"], "ja"),
        (["서울"], "ko"),
        (["約翰・史密斯"], "zh"),  # the middle dot is not kana
        (["IBM、NASAとMicrosoft"], "ja"),  # Latin letters tell nothing
        (["삼성전자(三星電子)는"], "ko"),
        (["ประเทศไทย"], "th"),
        (["Only English", ""], None),
        ([], None),
    ],
)
def test_scripts_tell_languages(texts, expected):
    assert languages.guess_language(texts) == expected


def test_shares_of_scripts():
    zh = languages.load("zh")
    assert (zh.share("北京 2008"), zh.share("北京ab"), zh.share("12")) == (1.0, 0.5, 0.0)
    assert languages.load("xx").share("北京") == 0.0


@pytest.mark.parametrize("lang", ["", "xx", "fr", "../zh", "ko"])
def test_all_others_have_spaces(lang):
    assert languages.load(lang).spaces


@pytest.mark.parametrize(
    "text, message",
    [
        ("suffix: ['a']", r"tlh\.yaml: there is no key 'suffix'; do you mean 'suffixes'\?"),
        ("zzz: 1", r"tlh\.yaml: there is no key 'zzz'; the keys are name, scripts"),
        ("spaces: 'no'", r"tlh\.yaml: 'spaces' is 'no'; write true or false"),
        ("name: 3", r"tlh\.yaml: 'name' is 3; write it in quotes"),
        ("suffixes: 'abc'", r"tlh\.yaml: 'suffixes' is 'abc'; write a list of strings"),
        ("suffixes: [1, 'a']", r"tlh\.yaml: 'suffixes' is \[1, 'a'\]; write a list of strings"),
        ("suffixes: ['']", r"tlh\.yaml: 'suffixes' is \[''\]; write a list of strings"),
        ("scripts: ['Klingon']", r"tlh\.yaml: 'scripts' has 'Klingon'; mend the pattern: "),
        ("width: 2", r"tlh\.yaml: 'width' is 2; write it as 1.0"),
        ("ranks_after: ['(a']", r"tlh\.yaml: 'ranks_after' has '\(a'; mend the pattern: "),
        ("- a", r"tlh\.yaml: the file needs keys and values"),
        ("a: [", r"tlh\.yaml: this is no YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_told(folder, text, message):
    (folder / "tlh.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        languages.load("tlh")


def test_a_new_language_is_a_new_file(folder):
    """Hebrew: particles of one letter are written together with the next word."""
    text = Text("הוא גר בירושלים וירושלים", "he")
    name = "ירושלים"
    inside = [span for span in find(text, name) if not stands_free(text, span)]
    assert len(inside) == 2
    (folder / "iw.yaml").write_text(
        "name: Hebrew\nprefixes: ['ו', 'ב']\nranks_after: [' המלך']\nscripts: [Hebrew]\nstop: '׃'\n",
        encoding="utf-8",
    )
    text = Text(text.string, "iw")
    assert [stands_free(text, span) for span in find(text, name)] == [True, True]
    assert guess_language([name]) == "iw" and with_stop(name) == f"{name}׃"
    king = Text("שלמה המלך", "iw")
    assert king[complete(king, "Solomon", Span(0, 9))] == "שלמה"
