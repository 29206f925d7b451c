"""Tiny random models, and prompts for them."""

import json
from pathlib import Path
from typing import Any

from spacy_eat.llm.prompts import Prompt
from spacy_eat.llm.tasks.alignment import make_alignment_task
from spacy_eat.llm.tasks.markers import make_marker_placement_task
from spacy_eat.llm.tasks.translation import make_translation_task
from spacy_eat.types import Span

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% if think is defined %}[{{ think }}]{% endif %}{% endif %}"
)
TEXTS = ["联想集团由柳传志于1984年在北京创立。", "京都大学在京都。", "田中さんはNHKで働く。", "好"]
NAMES = ["Lenovo Group", "Beijing"]


def save_model(folder: Path, *, template: str | None = TEMPLATE, seed: int = 0, **settings: Any) -> Path:
    """A random Llama that reads and writes bytes."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = template
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        max_position_embeddings=4096,
        initializer_range=0.3,
        **settings,
    )
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():  # so that next tokens differ in probability as a trained model's do
        model.model.embed_tokens.weight.normal_(std=0.5)
        model.lm_head.weight[1] *= 1.5  # and answers come to an end
    model.save_pretrained(folder)
    return folder


def convert(source: Path, target: Path, **options: Any) -> Path:
    """Convert a model for CTranslate2. Options are those of its converter."""
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):
        def load_model(self, model_class: Any, name: str, dtype: Any = None, **settings: Any) -> Any:
            return model_class.from_pretrained(name, torch_dtype=dtype, **settings)  # `dtype` is newer

    converter = Converter(str(source), copy_files=["tokenizer.json", "tokenizer_config.json"])
    converter.convert(str(target), **options)
    template = source / "chat_template.jinja"
    if template.is_file():
        (target / template.name).write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
    return target


def ask(model: Any, prompts: list[Any]) -> list[Any]:
    [answers] = model([prompts])
    return list(answers)


def translations(*texts: str) -> list[Prompt]:
    task = make_translation_task(language="zh")
    return [task.prompt(text, "zh") for text in texts or TEXTS]


def alignments(*texts: str) -> list[Prompt]:
    task = make_alignment_task(language="zh")
    english = "Lenovo Group was founded in Beijing."
    return [task.prompt(text, english, NAMES, "zh") for text in texts or TEXTS]


def placements(*texts: str) -> list[Prompt]:
    task = make_marker_placement_task(language="zh")
    english = "Lenovo Group was founded in Beijing."
    spans = [Span(english.index(name), english.index(name) + len(name)) for name in NAMES]
    return [prompt for text in texts or TEXTS for prompt in task.prompts(text, english, spans, "zh")]


def parse_names(answer: str) -> list[list[str]]:
    return [[text for text, _ in ranked] for ranked in json.loads(answer)]
