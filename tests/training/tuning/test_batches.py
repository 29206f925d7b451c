import pytest

from spacy_eat.training.tuning.batches import IGNORE, Encoded, EncodedQuestion, collate
from spacy_eat.training.tuning.data import Example, Question, ask_name, ask_translation, text_prefix

EXAMPLE = Encoded(
    (1, 2, 3),
    (EncodedQuestion("translation", (4, 5), (6, 7)), EncodedQuestion("alignment", (8,), (9, 10, 11))),
)


def test_collate_trains_on_answers_only():
    torch = pytest.importorskip("torch")
    batch = collate(
        [EXAMPLE, Encoded((1,), (EncodedQuestion("alignment", (2,), (3,)),))],
        {"alignment": 1.0, "translation": 0.5},
    )
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [1, 2, 3] + [0] * 8]
    assert batch["position_ids"][0].tolist() == [0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 6]
    expected = [IGNORE] * 4 + [6, 7, IGNORE, 9, 10, 11, IGNORE]
    assert batch["labels"][0].tolist() == expected
    assert batch["weights"][0].tolist() == [0, 0, 0, 0, 0.5, 0.5, 0, 1, 1, 1, 0]
    assert batch["labels"][1].tolist() == [IGNORE, 3] + [IGNORE] * 9
    assert batch["attention_mask"].dtype == torch.bool


def test_questions_do_not_see_each_other():
    pytest.importorskip("torch")
    mask = collate([EXAMPLE], {"alignment": 1.0, "translation": 0.5})["attention_mask"][0, 0]
    for row in range(11):
        own = range(3, 7) if row in range(3, 7) else range(7, 11)
        expected = [c <= row and (c < 3 or c in own) for c in range(11)]
        assert mask[row].tolist() == expected


def test_scores_are_those_of_each_prompt_by_itself(tiny_model):
    torch = pytest.importorskip("torch")
    from spacy_eat.training.tuning.batches import encode
    from spacy_eat.training.tuning.config import Lora
    from spacy_eat.training.tuning.lora import answer_scores, load_model
    from spacy_eat.training.tuning.tune import load_tokenizer

    tokenizer = load_tokenizer(str(tiny_model))
    model = load_model(str(tiny_model), Lora(rank=2), seed=0).eval()
    text = "特朗普访问了巴黎。"
    questions = (
        ask_translation("Trump visited Paris."),
        ask_name("Paris", "zh", "巴黎"),
        ask_name("Trump", "zh", "特朗普"),
    )
    weights = {"alignment": 1.0, "translation": 1.0}
    encoded = encode(Example(text_prefix(text, "zh"), questions), tokenizer)
    with torch.no_grad():
        together, _ = answer_scores(model, collate([encoded], weights), None)
        alone = []
        for question in questions:
            prompt = tokenizer(text_prefix(text, "zh") + question.prompt)["input_ids"]
            answer = tokenizer(f" {question.answer}\n", add_special_tokens=False)["input_ids"]
            logits = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            alone += [-float(logits[len(prompt) + i - 1, token]) for i, token in enumerate(answer)]
        reduced, _ = answer_scores(model, collate([encoded], weights), torch.arange(257))
    assert together.tolist() == pytest.approx(alone, abs=1e-4)
    assert reduced.tolist() == pytest.approx(alone, abs=1e-4)


def test_question_order_is_kept_by_encoding(tiny_model):
    from spacy_eat.training.tuning.batches import encode
    from spacy_eat.training.tuning.tune import load_tokenizer

    tokenizer = load_tokenizer(str(tiny_model))
    encoded = encode(Example("Chinese: 好\n", (Question("translation", "English:", "Good."),)), tokenizer)
    assert encoded.prefix[0] == 0 and 0 not in encoded.prefix[1:]
    ids = [*encoded.prefix[1:], *encoded.questions[0].prompt, *encoded.questions[0].answer]
    assert tokenizer.decode(ids) == "Chinese: 好\nEnglish: Good.\n"
    assert len(encoded) == len(ids) + 1
