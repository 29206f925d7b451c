"""The cascade: who is asked for what, and whose answer is taken."""

import pytest
import spacy

from spacy_eat.alignment.cascade import CascadeAligner, make_cascade_aligner
from spacy_eat.alignment.llm import ASK_BELOW, make_llm_aligner
from spacy_eat.llm.tasks.alignment import make_alignment_task
from spacy_eat.types import Failure, Options, Sentence, Span, Text

SOURCE = "联想集团由柳传志在北京创立，他在NHK工作。"
ENGLISH = "Lenovo Group was founded by Liu Chuanzhi in Beijing. He works at NHK."
PLACES = {"Lenovo Group": (0, 4), "Liu Chuanzhi": (5, 8), "Beijing": (9, 11), "NHK": (16, 19)}


def sentence(*names):
    spans = [Span(ENGLISH.index(name), ENGLISH.index(name) + len(name), "X") for name in names or PLACES]
    return Sentence(Text(SOURCE, "zh"), Text(ENGLISH, "en"), spans)


class Scripted:
    """Has a place for each name with a score of its own, keeps what it was asked, and spends a request."""

    def __init__(self, none=0.0, fails=None, **scores):
        self.scores = {name.replace("_", " "): score for name, score in scores.items()}
        self.none = none
        self.fails = fails
        self.asked = []

    def __call__(self, sentences):
        return [self.answer(sentence) for sentence in sentences]

    def answer(self, sentence):
        self.asked.append(sentence.names())
        sentence.usage.requests += 1
        if self.fails:
            return self.fails
        return [
            Options((Span(*PLACES[name], score=self.scores[name]),) if name in self.scores else (), self.none)
            for name in sentence.names()
        ]


def scores(options):
    return [one.spans[0].score if one.spans else None for one in options]


def test_each_is_asked_for_what_the_one_before_is_not_certain_of():
    cheap = Scripted(Lenovo_Group=0.9, Liu_Chuanzhi=0.4, Beijing=0.3)
    dear = Scripted(Liu_Chuanzhi=0.8, Beijing=0.2)
    asked = sentence()
    [options] = CascadeAligner([cheap, dear])([asked])
    assert cheap.asked == [["Lenovo Group", "Liu Chuanzhi", "Beijing"]]  # NHK stands in the source
    assert dear.asked == [["Liu Chuanzhi", "Beijing"]]
    assert scores(options) == [0.9, 0.8, 0.3, 1.0]  # the more probable answer, whoever gave it
    assert [asked.source[one.spans[0]] for one in options] == ["联想集团", "柳传志", "北京", "NHK"]
    assert asked.usage.requests == 2


def test_nobody_is_asked_without_need():
    cheap, dear = Scripted(Beijing=0.5), Scripted()
    results = CascadeAligner([cheap, dear])([sentence("NHK"), sentence("Beijing")])
    assert [scores(options) for options in results] == [[1.0], [0.5]]
    assert cheap.asked == [["Beijing"]] and dear.asked == []


def test_that_there_is_none_is_an_answer():
    cheap, dear = Scripted(none=0.7, Beijing=0.2), Scripted(Beijing=0.9)
    [[options]] = CascadeAligner([cheap, dear])([sentence("Beijing")])
    assert options.none == 0.7 and dear.asked == []
    [[options]] = CascadeAligner([cheap, dear], min_score=0.8)([sentence("Beijing")])
    assert options.spans[0].score == 0.9


def test_a_failure_stands_where_nobody_answers_after_it():
    failure = Failure("no server")
    [options] = CascadeAligner([Scripted(fails=failure), Scripted(Beijing=0.9)])([sentence("Beijing")])
    assert scores(options) == [0.9]
    cascade = CascadeAligner([Scripted(Beijing=0.4, Liu_Chuanzhi=0.9), Scripted(fails=failure)])
    failed, options = cascade([sentence("Beijing"), sentence("Liu Chuanzhi")])
    assert failed is failure and scores(options) == [0.9]  # the rest of the batch goes on


def test_an_aligner_that_cannot_be_used_leaves_all_to_the_next(caplog):
    def missing(sentences):
        raise ImportError("no torch")

    cascade = CascadeAligner([missing, Scripted(Beijing=0.9)])
    for _ in range(2):
        assert [scores(options) for options in cascade([sentence("Beijing")])] == [[0.9]]
    assert [record.getMessage() for record in caplog.records] == [
        "function cannot be used, so the next aligner is asked instead: no torch"
    ]
    failed, options = CascadeAligner([Scripted(Liu_Chuanzhi=0.9), missing])(
        [sentence("Beijing"), sentence("Liu Chuanzhi")]
    )
    assert "ImportError: no torch" in str(failed) and scores(options) == [0.9]
    assert len(caplog.records) == 1


def test_the_llm_is_asked_for_what_the_first_aligner_is_not_certain_of():
    surer, less_sure = ASK_BELOW + 0.01, ASK_BELOW - 0.01
    first = Scripted(Lenovo_Group=0.9, Liu_Chuanzhi=surer, Beijing=less_sure)
    asked = []

    def model(prompts):
        asked.extend(prompt for group in prompts for prompt in group)
        return [["Beijing = 北京" for _ in group] for group in prompts]

    aligner = make_llm_aligner(make_alignment_task(), model, first=first)
    [options] = aligner([sentence()])
    assert scores(options)[:2] == [0.9, surer] and scores(options)[3] == 1.0
    assert len(asked) == 1
    with pytest.raises(ValueError, match=r"ask_below = 1\.5"):
        make_llm_aligner(make_alignment_task(), model, first=first, ask_below=1.5)


def test_an_aligner_that_does_not_answer_for_each_entity_is_named():
    def careless(sentences):
        return [[] for _ in sentences]

    [failure] = CascadeAligner([careless])([sentence("Beijing")])
    assert isinstance(failure, Failure) and "gave 0 for 1 entities" in str(failure)


def test_settings_out_of_range_are_told():
    with pytest.raises(ValueError, match="no aligners"):
        make_cascade_aligner()
    with pytest.raises(ValueError, match=r"min_score = -0\.5"):
        make_cascade_aligner(Scripted(), min_score=-0.5)


@spacy.registry.misc("tests.FirstAligner.v1")
def make_first():
    return Scripted(Beijing=0.1)


@spacy.registry.misc("tests.SecondAligner.v1")
def make_second():
    return Scripted(Beijing=0.9)


@spacy.registry.misc("tests.EnglishTagger.v1")
def make_tagger():
    def tag(texts):
        start = ENGLISH.index("Beijing")
        return [[Span(start, start + len("Beijing"), "LOC")] for _ in texts]

    return tag


def test_a_pipeline_keeps_the_order_of_its_config(tmp_path):
    nlp = spacy.blank("zh")
    blocks = {"z": {"@misc": "tests.FirstAligner.v1"}, "a": {"@misc": "tests.SecondAligner.v1"}}
    aligner = {"@misc": "spacy_eat.CascadeAligner.v1", "*": blocks}
    tagger = {"@misc": "tests.EnglishTagger.v1"}
    config = {"aligner": aligner, "tagger": tagger, "source_tagger": None}
    nlp.add_pipe("eat_entity_aligner", config=config)
    nlp.to_disk(tmp_path)
    for pipeline in (nlp, spacy.load(tmp_path)):
        doc = pipeline.make_doc(SOURCE)
        doc._.eat_translation = ENGLISH
        doc = pipeline(doc)
        first, second = pipeline.get_pipe("eat_entity_aligner").aligner.aligners
        assert [first.scores, second.scores] == [{"Beijing": 0.1}, {"Beijing": 0.9}]
        assert [ent.text for ent in doc.ents] == ["北京"]
        assert doc._.eat["sentences"][0]["requests"] == 2
