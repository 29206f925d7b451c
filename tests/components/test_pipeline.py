"""The two components together, on a scripted LLM."""

import copy
import json
import pickle

import pytest
import spacy
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_eat.text.sentences import split_doc

ZH = "联想集团由柳传志于1984年在北京创立。"
EN = "Lenovo Group was founded by Liu Chuanzhi in Beijing in 1984."
NAMES = {"Lenovo Group": "联想集团", "Liu Chuanzhi": "柳传志", "Beijing": "北京"}


@pytest.fixture
def lenovo(llm):
    llm.translations[ZH] = EN
    llm.names.update(NAMES)
    return llm


def ents(doc):
    return [(ent.text, ent.label_) for ent in doc.ents]


def test_main_job(make_nlp, lenovo):
    doc = make_nlp()(ZH)
    found = [(e.text, e.label_, e._.eat_english, e._.eat_status, e._.eat_score) for e in doc.ents]
    assert found == [
        ("联想集团", "ORG", "Lenovo Group", "exact", 1.0),
        ("柳传志", "PER", "Liu Chuanzhi", "exact", 1.0),
        ("北京", "LOC", "Beijing", "exact", 1.0),
    ]
    assert [span.text for span in doc.spans["eat"]] == ["联想集团", "柳传志", "北京"]
    assert doc._.eat_translation == EN
    assert len(lenovo.prompts) == 2
    (sentence,) = doc._.eat["sentences"]
    assert (sentence["start_char"], sentence["end_char"]) == (0, len(ZH))
    assert sentence["requests"] == 2 and sentence["status"] == "aligned" and sentence["error"] is None


def test_one_request_where_english_has_no_entity(make_nlp, llm):
    doc = make_nlp()("今天下雨。")
    assert not doc.ents and doc.has_annotation("ENT_IOB")
    assert len(llm.prompts) == 1


def test_names_that_stand_in_the_source_need_no_request(make_nlp, llm):
    llm.translations["NHKが報じた。"] = "NHK reported it."
    doc = make_nlp("ja")("NHKが報じた。")
    assert ents(doc) == [("NHK", "ORG")]
    assert len(llm.prompts) == 1


def test_offsets_of_later_sentences(make_nlp, lenovo):
    doc = make_nlp()("今天下雨。" + ZH + "\n明天晴。")
    assert ents(doc) == [("联想集团", "ORG"), ("柳传志", "PER"), ("北京", "LOC")]
    assert [doc.text[s["start_char"] : s["end_char"]] for s in doc._.eat["sentences"]] == [
        "今天下雨。",
        ZH,
        "明天晴。",
    ]


def test_a_translation_of_the_users_is_not_paid_for(make_nlp, lenovo):
    nlp = make_nlp()
    doc = nlp.make_doc(ZH)
    doc._.eat_translation = EN
    doc = nlp(doc)
    assert len(doc.ents) == 3
    assert len(lenovo.prompts) == 1
    doc = nlp.make_doc("今天下雨。" + ZH)
    doc._.eat_translation = ["It rains today.", EN]
    assert len(nlp(doc).ents) == 3
    with pytest.raises(ValueError, match="3 strings for 2 sentences"):
        doc._.eat_translation = ["a", "b", "c"]
    assert len(split_doc(doc)) == 2


def test_a_failure_costs_one_sentence_and_is_retried(make_nlp, lenovo):
    def fail(prompt):
        if "败" in prompt:
            raise ConnectionError("the server is away")

    lenovo.raw = fail
    nlp = make_nlp()
    doc = nlp("失败。" + ZH)
    assert len(doc.ents) == 3
    failed, aligned = doc._.eat["sentences"]
    assert failed["status"] == "failed" and "ConnectionError: the server is away" in failed["error"]
    assert failed["english"] is None and aligned["status"] == "aligned"
    assert doc._.eat_translation is None
    lenovo.raw = lambda prompt: None
    before = len(lenovo.prompts)
    doc = nlp(doc)
    assert [s["status"] for s in doc._.eat["sentences"]] == ["aligned", "aligned"]
    assert len(lenovo.prompts) == before + 1
    assert len(doc.ents) == 3


def test_a_failed_alignment_is_retried_without_translating_again(make_nlp, lenovo):
    def fail(prompt):
        if "\nNames: " in prompt:
            raise TimeoutError

    lenovo.raw = fail
    nlp = make_nlp()
    doc = nlp(ZH)
    assert not doc.ents and doc._.eat["sentences"][0]["error"].startswith("alignment: TimeoutError")
    assert doc._.eat_translation == EN
    lenovo.raw = lambda prompt: None
    before = len(lenovo.prompts)
    assert len(nlp(doc).ents) == 3
    assert len(lenovo.prompts) == before + 1
    assert doc._.eat["sentences"][0]["error"] is None


def test_running_again_changes_and_costs_nothing(make_nlp, lenovo):
    nlp = make_nlp()
    doc = nlp(ZH)
    before, record = len(lenovo.prompts), json.dumps(doc._.eat)
    doc = nlp(doc)
    assert len(lenovo.prompts) == before
    assert json.dumps(doc._.eat) == record and len(doc.ents) == 3


@pytest.mark.parametrize(
    ("translation", "error"),
    [
        ("", "empty"),
        ("   \n ", "empty"),
        ("...", "empty"),
        ("联想集团由柳传志创立。", "not English"),
        ("Lenovo " * 300, "characters long|repeats itself"),
        ("the company and " * 15, "repeats itself"),
    ],
)
def test_bad_translations(make_nlp, llm, translation, error):
    import re

    llm.raw = lambda prompt: translation
    doc = make_nlp()(ZH)
    (sentence,) = doc._.eat["sentences"]
    assert sentence["status"] == "failed" and re.search(error, sentence["error"])
    assert not doc.ents


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " \n\t　",
        "😀👍🏽",
        "NULL\x00字符",
        "only English here, 12345.",
        "12345",
        "Ｆｕｌｌ　ｗｉｄｔｈ。",
        "مرحبا 你好 こんにちは 안녕",
    ],
)
@pytest.mark.parametrize("lang", ["zh", "ja"])
def test_bad_input(make_nlp, llm, lang, text):
    tokenizer = {
        "@tokenizers": "spacy_eat.JapaneseTokenizer.v1" if lang == "ja" else "spacy.zh.ChineseTokenizer"
    }
    nlp = make_nlp(nlp=spacy.blank(lang, config={"nlp": {"tokenizer": tokenizer}}))
    doc = nlp(text)
    assert doc.text == text
    for sentence in doc._.eat["sentences"]:
        assert sentence["status"] in ("aligned", "failed")
        assert (sentence["status"] == "failed") == (sentence["error"] is not None)


def test_lone_surrogates(make_nlp, llm):
    tokenizer = {"@tokenizers": "spacy_eat.JapaneseTokenizer.v1"}
    doc = make_nlp(nlp=spacy.blank("ja", config={"nlp": {"tokenizer": tokenizer}}))("\ud800東京\udfff")
    assert doc.text == "?東京?"
    with pytest.raises(UnicodeEncodeError):  # spaCy's own tokenizers cannot store them
        spacy.blank("zh")("\ud800")


@pytest.mark.slow
def test_a_doc_of_100000_characters(make_nlp, lenovo):
    text = ZH * 5_000
    doc = make_nlp()(text)
    assert len(text) >= 100_000
    assert len(doc.ents) == 15_000
    assert all(ent.text in NAMES.values() for ent in doc.ents)


@pytest.mark.slow
def test_60_kb_of_japanese(make_nlp, llm):
    text = "東京で田中が話した。" * 2_100
    assert len(text.encode("utf-8")) > 60_000
    llm.translations["東京で田中が話した。"] = "Tanaka spoke in Tokyo."
    llm.names.update({"Tanaka": "田中", "Tokyo": "東京"})
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"@tokenizers": "spacy_eat.JapaneseTokenizer.v1"}}})
    doc = make_nlp(nlp=nlp)(text)
    assert len(doc.ents) == 4_200


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(NAMES, ensure_ascii=False),
        "```json\n" + json.dumps(NAMES, ensure_ascii=False, indent=1) + "\n```",
        "<think>Let me see {x}.</think>Sure! Here it is: " + json.dumps(NAMES, ensure_ascii=False) + " Done.",
        json.dumps({"names": NAMES}, ensure_ascii=False),
        json.dumps(dict(reversed(NAMES.items())), ensure_ascii=False),
        json.dumps(NAMES, ensure_ascii=False)[:-2] + '", "Bei',
        json.dumps(list(NAMES.values()), ensure_ascii=False),
        json.dumps([{"name": k, "words": v} for k, v in NAMES.items()], ensure_ascii=False),
        json.dumps([[k, v] for k, v in NAMES.items()], ensure_ascii=False),
        json.dumps([[[v, -0.5], ["由", -4.0]] for v in NAMES.values()], ensure_ascii=False),
        "\n".join(f"- {k}: {v}" for k, v in NAMES.items()),
        "\n".join(f'{i}. "{k}" → “{v}”' for i, (k, v) in enumerate(NAMES.items(), 1)),
        '{"1": "联想集团", "2": "柳传志", "3": "北京"}',
        '{"LENOVO GROUP": "「联想集团」", "liu chuanzhi": "柳傳志", "Beijing": "北京市内北京"}',
    ],
)
def test_answers_of_every_form(make_nlp, lenovo, answer):
    lenovo.raw = lambda prompt: answer if "\nNames: " in prompt else None
    doc = make_nlp()(ZH)
    found = ents(doc)
    assert found[:2] == [("联想集团", "ORG"), ("柳传志", "PER")], doc._.eat


@pytest.mark.parametrize(
    "answer", ["", "I cannot help with that.", "{", "[1, 2]", "null", "{}", "[]", "\x00"]
)
def test_answers_without_anything(make_nlp, lenovo, answer):
    lenovo.raw = lambda prompt: answer if "\nNames: " in prompt else None
    doc = make_nlp()(ZH)
    assert not doc.ents
    assert doc._.eat["sentences"][0]["status"] in ("failed", "aligned")


def test_answers_that_are_not_in_the_source_are_unaligned(make_nlp, lenovo):
    lenovo.names.update({"Beijing": "上海", "Liu Chuanzhi": None})
    doc = make_nlp()(ZH)
    assert ents(doc) == [("联想集团", "ORG")]
    status = {e["text"]: e["status"] for e in doc._.eat["sentences"][0]["entities"]}
    assert status == {"Lenovo Group": "exact", "Liu Chuanzhi": "unaligned", "Beijing": "unaligned"}


def test_mentions(make_nlp, llm):
    text = "北京很大，我爱北京。"
    llm.translations[text] = "Beijing is big, I love it."
    llm.names["Beijing"] = "北京"
    assert ents(make_nlp()(text)) == [("北京", "LOC"), ("北京", "LOC")]
    assert ents(make_nlp(aligner={"mentions": "aligned"})(text)) == [("北京", "LOC")]


def test_kyoto_is_not_in_tokyo(make_nlp, llm):
    text = "東京都と京都に行く。"
    llm.translations[text] = "I go to Tokyo Metropolis and Kyoto."
    llm.names.update({"Tokyo Metropolis": "東京都", "Kyoto": "京都"})
    doc = make_nlp("ja")(text)
    assert [(e.text, e.start_char) for e in doc.ents] == [("東京都", 0), ("京都", 4)]


@pytest.mark.slow
def test_pipe_gives_what_a_loop_gives(make_nlp, lenovo):
    texts = [ZH, "今天下雨。", "", "今天下雨。" + ZH] * 5
    looped = [make_nlp()(text).to_json() for text in texts]
    piped = [doc.to_json() for doc in make_nlp().pipe(texts, batch_size=7)]
    assert piped == looped


def test_as_tuples(make_nlp, lenovo):
    pairs = list(make_nlp().pipe([(ZH, 1), ("今天下雨。", 2)], as_tuples=True))
    assert [(len(doc.ents), context) for doc, context in pairs] == [(3, 1), (0, 2)]


def test_docs_survive_storage(make_nlp, lenovo):
    nlp = make_nlp()
    doc = nlp(ZH)
    other = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    (binned,) = DocBin(docs=[doc], store_user_data=True).get_docs(nlp.vocab)
    for stored in (other, binned):
        assert stored._.eat == doc._.eat
        assert [(e.text, e._.eat_english, e._.eat_score) for e in stored.ents] == [
            (e.text, e._.eat_english, e._.eat_score) for e in doc.ents
        ]
    json.dumps(doc._.eat)


def test_pipelines_survive_storage(make_nlp, lenovo, tmp_path):
    nlp = make_nlp(aligner={"mentions": "aligned", "min_score": 0.25})
    nlp.to_disk(tmp_path / "nlp")
    for other in (
        spacy.load(tmp_path / "nlp"),
        spacy.blank("zh").from_config(nlp.config).from_bytes(nlp.to_bytes()),
    ):
        assert ents(other(ZH)) == ents(nlp(ZH))
        assert other.get_pipe("eat_entity_aligner").mentions == "aligned"
        assert other.get_pipe("eat_entity_aligner").min_score == 0.25


def test_evaluate(make_nlp, lenovo):
    nlp = make_nlp()
    doc = nlp.make_doc(ZH)
    gold = [(0, 4, "ORG"), (5, 8, "PER"), (8, 9, "LOC")]
    scores = nlp.evaluate([Example.from_dict(doc, {"entities": gold})])
    assert scores["ents_p"] == pytest.approx(2 / 3) and scores["ents_r"] == pytest.approx(2 / 3)
    assert scores["ents_per_type"]["PER"]["f"] == 1.0


def test_dialogues_send_three_turns(make_nlp, llm):
    answers = iter(["联想集团 = Lenovo Group", "A draft", EN])
    aligned = {"Lenovo Group": "联想集团", "Liu Chuanzhi": "柳传志", "Beijing": "none"}

    def answer(prompt):
        if "back into" not in prompt and "What does" not in prompt:
            return next(answers)
        name = prompt.split('What does "')[1].split('"')[0]
        return aligned[name] if prompt.endswith("answer: none") else f"{name} it is"

    llm.raw = answer
    nlp = make_nlp(
        translator={"task": {"@llm_tasks": "spacy_eat.EntityTranslationDialogue.v1"}},
        aligner={"aligner": {"task": {"@llm_tasks": "spacy_eat.EntityAlignmentDialogue.v1"}}},
    )
    doc = nlp(ZH)
    assert doc._.eat_translation == EN
    assert ents(doc) == [("联想集团", "ORG"), ("柳传志", "PER")]
    assert len(llm.prompts) == 3 + 3 * 3
    assert "联想集团 = Lenovo Group" in llm.prompts[2] and "A draft" in llm.prompts[2]


def test_glossary_examples_and_labels_are_in_the_prompt(make_nlp, lenovo):
    example = {"text": "马云在杭州。", "english": "Jack Ma is in Hangzhou.", "entities": {"Jack Ma": "马云"}}
    task = {
        "@llm_tasks": "spacy_eat.EntityTranslation.v1",
        "labels": {"GENE": "names of genes"},
        "glossary": {"联想集团": "Legend Group", "华为": "Huawei"},
        "examples": [example],
    }
    make_nlp(translator={"task": task})(ZH)
    prompt = lenovo.prompts[0]
    assert "- GENE: names of genes" in prompt
    assert "联想集团 = Legend Group" in prompt and "华为" not in prompt
    assert "English: Jack Ma is in Hangzhou." in prompt
    task["examples"] = [{**example, "entities": {"Jack Ma": "马化腾"}}]
    with pytest.raises(ValueError, match=r"Few-shot example 1.*马化腾"):
        make_nlp(translator={"task": task})


def test_tasks_work_in_spacy_llms_own_component(llm):
    nlp = spacy.blank("zh")
    from spacy_eat.records import install_extensions, new_record

    install_extensions()
    llm.translations[ZH] = EN
    config = {
        "task": {"@llm_tasks": "spacy_eat.EntityTranslation.v1"},
        "model": {"@llm_models": "test.Scripted"},
    }
    llm_pipe = nlp.add_pipe("llm", config=config)
    doc = nlp.make_doc(ZH)
    doc._.eat = new_record(split_doc(doc))
    assert llm_pipe(doc)._.eat_translation == EN


def test_pipelines_are_copied_and_pickled(make_nlp, llm):
    text, english = "李雪在北京。", "Obama is in Beijing."
    nlp = make_nlp()
    nlp.get_pipe("eat_translator").model = nlp.get_pipe("eat_entity_aligner").aligner.model = None
    for twin in (copy.deepcopy(nlp), pickle.loads(pickle.dumps(nlp))):  # a test's own model does not travel
        twin.get_pipe("eat_translator").model = twin.get_pipe("eat_entity_aligner").aligner.model = llm
        llm.translations, llm.names = {text: english}, {"Beijing": "北京", "Obama": "李雪"}
        assert [ent.text for ent in twin(text).ents] == ["李雪", "北京"]


def test_default_pipelines_are_pickled():
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_translator")
    nlp.add_pipe("eat_entity_aligner")
    assert pickle.loads(pickle.dumps(nlp)).pipe_names == nlp.pipe_names
