"""A cut vocabulary: fewer pieces, the same entities in the texts that it was cut for."""

import json

import pytest
import spacy

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from spacy.training import Example  # noqa: E402

from spacy_eat.components.token_classifier import TokenClassifier  # noqa: E402
from spacy_eat.training.students.vocabulary import cut_vocabulary  # noqa: E402
from spacy_eat.weights.e5 import E5File, make_tokenizer  # noqa: E402

from ...bert import tiny_bert  # noqa: E402

PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
PIECES += [(char, -8.0) for char in "我在北京东都大学"] + [("北京", -3.0), ("大学", -3.0), ("东京都", -3.0)]
PIECES += [("<mask>", 0.0)]
TEXT = "我在北京大学"


def folder_of(tokenizer, path):
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    transformers.set_seed(0)
    transformers.BertModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)


@pytest.fixture
def tagger(tmp_path):
    """A tagger that has learnt one text."""
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    own = make_tokenizer(E5File({**ids, "max_position_embeddings": 64}, PIECES, 3, {0x3000: " "}, {}))
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "unk": "<unk>", "pad": "<pad>"}
    special = {f"{name}_token": piece for name, piece in {**names, "mask": "<mask>"}.items()}
    folder_of(transformers.PreTrainedTokenizerFast(tokenizer_object=own, **special), tmp_path / "encoder")
    nlp = spacy.blank("zh")
    config = {"encoder": str(tmp_path / "encoder"), "pooling": "mean", "max_length": 48}
    ner = nlp.add_pipe("eat_token_classifier", name="ner", config=config)
    examples = [Example.from_dict(nlp.make_doc(TEXT), {"entities": [(2, 6, "ORG")]})]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(30):
        nlp.update(examples, sgd=optimizer)
    ner.to_disk(tmp_path / "tagger")
    return tmp_path / "tagger"


def read(folder):
    nlp = spacy.blank("zh")
    classifier = TokenClassifier(nlp.vocab, spans_key="ner").from_disk(folder)
    return classifier, classifier(nlp.make_doc(TEXT))


def test_what_the_texts_do_not_have_is_cut(tagger, tmp_path):
    assert cut_vocabulary(tagger, [TEXT] * 2, tmp_path / "cut", min_count=2) == (len(PIECES), len(PIECES) - 1)
    before, doc = read(tagger)
    after, same = read(tmp_path / "cut")
    assert [(e.text, e.label_) for e in same.ents] == [("北京大学", "ORG")]
    assert same.spans["ner"].attrs["scores"] == pytest.approx(doc.spans["ner"].attrs["scores"], abs=1e-3)
    assert after.tokenizer.tokenize("东京都北京") == ["▁", "东", "京", "都", "北京"]
    assert before.tokenizer.tokenize("东京都北京") == ["▁", "东京都", "北京"]
    assert after.tokenizer.pad_token_id == 1 and after.tokenizer.mask_token_id == len(PIECES) - 2
    assert (
        json.loads((tmp_path / "cut" / "model" / "config.json").read_text())["vocab_size"] == len(PIECES) - 1
    )


def test_what_cannot_be_cut(tagger, tmp_path):
    with pytest.raises(ValueError, match="no texts"):
        cut_vocabulary(tagger, [], tmp_path / "cut")
    other = tmp_path / "other"
    other.mkdir()
    transformers.BertModel(tiny_bert(other, "ab", layers=1)).save_pretrained(other)
    nlp = spacy.blank("en")
    ner = nlp.add_pipe("eat_token_classifier", config={"encoder": str(other)})
    ner.initialize(lambda: [], labels=["PER"])
    ner.to_disk(tmp_path / "wordpiece")
    with pytest.raises(ValueError, match="WordPiece"):
        cut_vocabulary(tmp_path / "wordpiece", ["a"], tmp_path / "cut")
