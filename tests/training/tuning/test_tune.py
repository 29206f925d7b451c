import csv
import json
import shutil

import pytest
import srsly
from confection import Config, ConfigValidationError

from spacy_eat.training.tuning.config import Lora, Training
from spacy_eat.training.tuning.lora import checkpoints, learning_rate
from spacy_eat.training.tuning.tune import tune

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("accelerate")


class Killed(Exception):
    pass


def kill_at(monkeypatch, step):
    """Have the run die in the middle of a step."""
    from spacy_eat.training.tuning.lora import Tuner

    original = Tuner._step

    def dying(self, *args):
        if self.state.step == step:
            raise Killed
        return original(self, *args)

    monkeypatch.setattr(Tuner, "_step", dying)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(config, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    whole = tune(Config(config))
    config["output"]["path"] = str(tmp_path / "killed")
    with monkeypatch.context() as patch:
        kill_at(patch, 4)
        with pytest.raises(Killed):
            tune(Config(config))
    # What was lost after the last checkpoint is done again.
    shutil.rmtree(checkpoints(tmp_path / "killed")[-1])
    assert checkpoints(tmp_path / "killed")[-1].name == "checkpoint-000003"
    # Examples are not built again.
    shutil.rmtree(config["corpora"]["alignment"])
    resumed = tune(Config(config))
    assert [row["step"] for row in resumed.log] == [1, 2, 3, 4, 5, 6]
    assert resumed.log == whole.log
    assert resumed.scores == whole.scores
    assert resumed.tokens == whole.tokens
    first, second = (
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("run", "killed")
    )
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)


def test_what_a_run_leaves(config, tmp_path):
    config["training"]["evaluate_steps"] = 3
    state = tune(Config(config))
    run = tmp_path / "run"
    with (run / "loss.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert (run / "loss.png").stat().st_size > 1000
    assert len(checkpoints(run)) == 2
    assert [row["step"] for row in state.scores] == [3, 6]
    assert set(state.scores[0]["translation_zh"]) == {"loss", "exact"}
    adapter = json.loads((run / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (adapter["r"], adapter["lora_alpha"]) == (4, 8)
    assert adapter["base_model_name_or_path"] == config["model"]["name"]
    prompts = [q[1] for e in srsly.read_jsonl(run / "examples.jsonl") for q in e["questions"]]
    assert "English:" in prompts and "English name: Trump\nChinese name:" in prompts


def test_adapter_changes_the_model_as_trained(config, tmp_path):
    """What peft loads from the exported files is what was trained."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tune(Config(config))
    ids = torch.tensor([[0, 5, 6, 7]])
    base = AutoModelForCausalLM.from_pretrained(config["model"]["name"])
    with torch.no_grad():
        before = base(ids).logits
        after = PeftModel.from_pretrained(base, tmp_path / "run" / "adapter").eval()(ids).logits
    assert (before - after).abs().max() > 0.1


def test_initial_adapter(config, tmp_path):
    tune(Config(config))
    adapter = tmp_path / "adapter"
    shutil.move(tmp_path / "run" / "adapter", adapter)
    config["lora"]["initial"] = str(adapter)
    config["output"]["path"] = str(tmp_path / "second")
    second = tune(Config(config))
    first = json.loads((checkpoints(tmp_path / "run")[-1] / "state.json").read_text(encoding="utf-8"))
    assert second.log[0]["loss"] < first["log"][0]["loss"]
    config["lora"]["rank"] = 2
    config["output"]["path"] = str(tmp_path / "third")
    with pytest.raises(ValueError, match="does not fit"):
        tune(Config(config))


def test_checkpoint_of_another_base(config, tiny_model, tmp_path):
    import transformers

    tune(Config(config))
    other = transformers.Gemma3TextConfig.from_pretrained(tiny_model, hidden_size=8)
    transformers.Gemma3ForCausalLM(other).save_pretrained(tiny_model)
    with pytest.raises(ValueError, match="another base model"):
        tune(Config(config))


def test_folder_of_another_run(config):
    tune(Config(config), build_only=True)
    config["training"]["steps"] = 3  # may change
    tune(Config(config), build_only=True)
    config["mix"]["none"] = 0.5
    with pytest.raises(ValueError, match="other settings"):
        tune(Config(config), build_only=True)
    tune(Config(config), restart=True, build_only=True)


def test_wrong_settings_are_named(config):
    config["training"]["stepz"] = 3
    with pytest.raises(ConfigValidationError, match="stepz"):
        tune(Config(config))


@pytest.mark.parametrize("section, key", [("corpora", "alignment"), ("corpora", "parallel")])
def test_missing_corpora_are_named(config, section, key, tmp_path):
    config[section][key] = str(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        tune(Config(config))
    config[section][key] = None
    with pytest.raises(FileNotFoundError, match=key):
        tune(Config(config))


def test_nothing_to_train_on(config, corpora):
    (corpora / "alignment" / "zh.jsonl").write_text('{"eng_entity": "A"}\n{broken', encoding="utf-8")
    config["mix"]["parallel"] = {}
    with pytest.raises(ValueError, match="no examples"):
        tune(Config(config))


def test_one_record(config, corpora):
    path = corpora / "alignment" / "zh.jsonl"
    path.write_text(path.read_text(encoding="utf-8").splitlines()[0], encoding="utf-8")
    config["mix"]["parallel"] = {}
    assert tune(Config(config)).step == 6


def test_learning_rate():
    training = Training(steps=10, warmup=3, decay=4, learning_rate=1.0)
    rates = [learning_rate(training, step) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert learning_rate(Training(steps=1, warmup=0, decay=0, learning_rate=1.0), 0) == 1.0


def test_lora_settings_are_checked():
    with pytest.raises(ValueError, match="rank"):
        Lora(rank=0)
