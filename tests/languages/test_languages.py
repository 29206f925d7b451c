import pytest

from spacy_eat import languages
from spacy_eat.alignment.locate import complete, find, stands_free
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


@pytest.mark.parametrize("lang", ["", "xx", "fr", "../zh", "ko"])
def test_all_others_have_spaces(lang):
    assert languages.load(lang).spaces


@pytest.mark.parametrize(
    "text, message",
    [
        ("suffix: ['a']", r"tlh\.yaml: there is no key 'suffix'; do you mean 'suffixes'\?"),
        ("zzz: 1", r"tlh\.yaml: there is no key 'zzz'; the keys are name, spaces"),
        ("spaces: 'no'", r"tlh\.yaml: 'spaces' is 'no'; write true or false"),
        ("name: 3", r"tlh\.yaml: 'name' is 3; write it in quotes"),
        ("suffixes: 'abc'", r"tlh\.yaml: 'suffixes' is 'abc'; write a list of strings"),
        ("suffixes: [1, 'a']", r"tlh\.yaml: 'suffixes' is \[1, 'a'\]; write a list of strings"),
        ("suffixes: ['']", r"tlh\.yaml: 'suffixes' is \[''\]; write a list of strings"),
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
        "name: Hebrew\nprefixes: ['ו', 'ב']\nranks_after: [' המלך']\n", encoding="utf-8"
    )
    text = Text(text.string, "iw")
    assert [stands_free(text, span) for span in find(text, name)] == [True, True]
    king = Text("שלמה המלך", "iw")
    assert king[complete(king, "Solomon", Span(0, 9))] == "שלמה"
