from collections import Counter

from spacy_eat.corpora.parallel import ParallelRecord, detokenize, full_width, hold_out_pairs, read_parallel

from ..training.test_alignment_records import write


def test_parallel_records_are_cleaned(tmp_path):
    path = write(
        tmp_path / "zh_news.jsonl",
        {"source": "他说,这是好事。", "english": "He said this is a good thing."},
        {"source": "他说,这是好事。", "english": "He said this was good."},
        {"source": "Only English here", "english": "Only English here"},
        {"source": "他说这是好事。", "english": "他说这是好事。他说这是好事。"},
        {
            "source": "好。",
            "english": "This translation is far longer than the sentence it was made from, so long.",
        },
        b"\xff".decode("latin-1"),
    )
    dropped = Counter()
    (record,) = read_parallel(path, "zh", dropped)
    assert (record.source, record.origin) == ("他说，这是好事。", "zh_news")
    assert dropped == {
        "duplicate": 1,
        "other script": 1,
        "not English": 1,
        "lengths differ": 1,
        "broken line": 1,
    }


def test_spelling_repairs():
    assert full_width("约翰,玛丽说:好! 1,000 a,b") == "约翰，玛丽说：好！1,000 a,b"
    assert detokenize("i 'm in the tennis club .") == "I'm in the tennis club."
    assert detokenize("he does n't know me .") == "He doesn't know me."
    assert detokenize('The U.S. said: "No" .5') == 'The U.S. said: "No" .5'


def test_pairs_held_out_are_the_same_in_all_languages():
    zh = [ParallelRecord("zh", f"第{i}句", f"Sentence {i}") for i in range(50)]
    ja = [ParallelRecord("ja", f"文{i}", f"Sentence {i}") for i in range(50)]
    train, test = hold_out_pairs(zh, 10)
    assert 4 <= len(test) <= 16 and len(train) == 50 - len(test)
    assert [r.english for r in hold_out_pairs(ja, 10)[1]] == [r.english for r in test]
    assert hold_out_pairs(zh, 0) == (zh, [])
    assert hold_out_pairs(zh[:3], 10) == (zh[:3], [])
