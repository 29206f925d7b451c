"""Adapters: merged as peft merges them, and refused where they do not fit."""

import json

import pytest

from spacy_eat.weights.adapters import merge_lora
from spacy_eat.weights.gemma import BASE, DEFAULT_ADAPTER, find_adapter, model_key

torch = pytest.importorskip("torch", reason="needs the extra 'embedded'")
transformers = pytest.importorskip("transformers", reason="needs the extra 'embedded'")


def tiny_llama():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2
    )
    return transformers.LlamaForCausalLM(config)


def write_adapter(
    folder, modules=("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"), **config
):
    from safetensors.torch import save_file

    shapes = {"q_proj": (8, 8), "down_proj": (8, 12)}
    weights = {}
    torch.manual_seed(1)
    for module in modules:
        rows, columns = shapes[module.rsplit(".", 1)[1]]
        weights[f"base_model.model.{module}.lora_A.weight"] = torch.randn(2, columns)
        weights[f"base_model.model.{module}.lora_B.weight"] = torch.randn(rows, 2)
    save_file(weights, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 6,
        "target_modules": ["q_proj", "down_proj"],
        "base_model_name_or_path": BASE,
        **config,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")


@pytest.mark.parametrize("scaling", [{"use_rslora": False}, {"use_rslora": True}])
def test_merged_as_peft_merges(tmp_path, scaling):
    peft = pytest.importorskip("peft", reason="the reference is peft")
    modules = [f"model.layers.{n}.{m}" for n in (0, 1) for m in ("self_attn.q_proj", "mlp.down_proj")]
    write_adapter(tmp_path, modules, **scaling)
    ours, theirs = tiny_llama(), tiny_llama()
    before = {name: weight.clone() for name, weight in ours.named_parameters()}
    merge_lora(ours, tmp_path)
    expected = peft.PeftModel.from_pretrained(theirs, tmp_path).merge_and_unload()
    for (name, mine), (_, other) in zip(ours.named_parameters(), expected.named_parameters(), strict=True):
        torch.testing.assert_close(mine, other)
        assert torch.equal(mine, before[name]) == ("q_proj" not in name and "down_proj" not in name)


def test_adapter_that_does_not_fit(tmp_path):
    write_adapter(tmp_path, ["model.layers.7.self_attn.q_proj"])
    with pytest.raises(ValueError, match=r"another base model.*layers\.7"):
        merge_lora(tiny_llama(), tmp_path)
    write_adapter(tmp_path, peft_type="IA3")
    with pytest.raises(ValueError, match="no plain LoRA"):
        merge_lora(tiny_llama(), tmp_path)
    write_adapter(tmp_path, use_dora=True)
    with pytest.raises(ValueError, match="use_dora"):
        merge_lora(tiny_llama(), tmp_path)


def test_half_precision_is_rounded_once(tmp_path):
    write_adapter(tmp_path)
    exact, half = tiny_llama(), tiny_llama().to(torch.bfloat16)
    with torch.no_grad():
        for weight in exact.parameters():
            weight.copy_(weight.to(torch.bfloat16).float())
    merge_lora(exact, tmp_path)
    merge_lora(half, tmp_path)
    for mine, other in zip(half.parameters(), exact.parameters(), strict=True):
        assert torch.equal(mine, other.to(torch.bfloat16))


def test_adapter_is_checked_before_anything_is_loaded(tmp_path):
    with pytest.raises(ValueError, match=r"adapter_config\.json"):
        find_adapter(str(tmp_path))
    write_adapter(tmp_path, base_model_name_or_path="Qwen/Qwen2.5-0.5B")
    with pytest.raises(ValueError, match=r"Qwen2\.5-0\.5B"):
        find_adapter(str(tmp_path))
    write_adapter(tmp_path, base_model_name_or_path="google/gemma-3-270m-it")
    with pytest.raises(ValueError, match="270m-it"):
        find_adapter(str(tmp_path))
    write_adapter(tmp_path, base_model_name_or_path="google/gemma-3-270m")
    assert find_adapter(str(tmp_path)) == tmp_path
    assert find_adapter(None) is None
    assert find_adapter("default") == DEFAULT_ADAPTER


def test_another_adapter_is_another_model(tmp_path):
    write_adapter(tmp_path)
    key = model_key(tmp_path)
    assert key == model_key(tmp_path) != model_key(None)
    write_adapter(tmp_path, lora_alpha=7)
    assert model_key(tmp_path) != key
