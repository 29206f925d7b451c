"""The mean of runs: of their weights, and only of those that fit each other."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from spacy_eat.training.students.averaging import WEIGHTS, average  # noqa: E402


def run(folder, weight, labels=("LOC",), size=2):
    (folder / WEIGHTS).parent.mkdir(parents=True)
    (folder / "cfg").write_text(json.dumps({"labels": labels, "base": "embedded", "temperature": 1.3}))
    safetensors.save_file({"classifier.weight": torch.full((size,), weight).half()}, folder / WEIGHTS)
    return folder


def test_the_mean_of_runs(tmp_path):
    runs = [run(tmp_path / name, weight) for name, weight in (("a", 1.0), ("b", 2.0), ("c", 6.0))]
    average(runs, tmp_path / "mean")
    (weight,) = safetensors.load_file(tmp_path / "mean" / WEIGHTS).values()
    assert weight.tolist() == [3.0, 3.0] and weight.dtype == torch.float16
    assert json.loads((tmp_path / "mean" / "cfg").read_text())["temperature"] == 1.3


def test_over_one_of_them(tmp_path):
    runs = [run(tmp_path / name, weight) for name, weight in (("a", 1.0), ("b", 2.0))]
    average(runs, runs[0])
    assert safetensors.load_file(runs[0] / WEIGHTS)["classifier.weight"].tolist() == [1.5, 1.5]


@pytest.mark.parametrize("differing", [{"labels": ("PER",)}, {"size": 3}])
def test_runs_that_do_not_fit(tmp_path, differing):
    runs = [run(tmp_path / "a", 1.0), run(tmp_path / "b", 2.0, **differing)]
    with pytest.raises(ValueError, match=r"b cannot be averaged with .*a: (labels|other weights) differ"):
        average(runs, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_a_folder_without_weights(tmp_path):
    first = run(tmp_path / "a", 1.0)
    shutil.copytree(first, tmp_path / "b")
    (tmp_path / "b" / WEIGHTS).unlink()
    with pytest.raises(ValueError, match=r"There is no tagger in .*b: name folders"):
        average([first, tmp_path / "b"], tmp_path / "mean")
    with pytest.raises(ValueError, match="empty list"):
        average([], tmp_path / "mean")
