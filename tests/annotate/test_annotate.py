"""Annotating files: formats, order, failures, kills."""

import contextlib
import gzip
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_eat.annotate import (
    InputError,
    PipelineError,
    Settings,
    Source,
    annotate,
    here,
    load_pipeline,
    processes,
    ray_cluster,
    ray_engine,
)
from spacy_eat.annotate.journal import Journal, Result
from spacy_eat.annotate.records import Record, count_records, read_records

from .. import scripted

KILLS = int(os.environ.get("SPACY_EAT_TEST_KILLS", "3"))


def run(source: Path, target: Path, *, mode="new", workers=1, log=None, delay=0.0, **settings):
    config = scripted.write_config(target.parent, log, delay)
    keep_docs = target.suffix == ".spacy"
    made = Settings(
        str(config), Path(scripted.__file__), keep_docs=keep_docs, **{"batch_size": 3, **settings}
    )
    engine = processes(made, workers) if workers > 1 else here(made)
    return annotate(source, target, made, engine, mode=mode, progress=False)


def write_lines(path: Path, lines) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def read_jsonl(path: Path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


TEXTS = ["张三在東京。", "", "什么也没有", "张三走了", " ", "東京タワー🗼", "最后"]
ANNOTATED = {
    "text": "张三在東京。",
    "entities": [
        {
            "start": 0,
            "end": 2,
            "label": "PER",
            "text": "张三",
            "english": "Zhang San",
            "score": 0.5,
            "status": "exact",
        },
        {
            "start": 3,
            "end": 5,
            "label": "LOC",
            "text": "東京",
            "english": "Tokyo",
            "score": 0.5,
            "status": "exact",
        },
    ],
    "english": "6 characters.",
}


def write_input(folder: Path, suffix: str) -> Path:
    path = folder / f"in{suffix}"
    if suffix == ".txt":
        return write_lines(path, TEXTS)
    rows = [{"text": text, "id": i, "meta": {"n": [i]}} for i, text in enumerate(TEXTS)]
    if suffix == ".jsonl":
        return write_lines(path, (json.dumps(row, ensure_ascii=False) for row in rows))
    if suffix == ".jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode("utf-8")))
    elif suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
    else:
        nlp = spacy.blank("zh")
        DocBin(docs=[nlp(text) for text in TEXTS]).to_disk(path)
    return path


@pytest.mark.parametrize("suffix_in", [".txt", ".jsonl", ".jsonl.gz", ".parquet", ".spacy"])
@pytest.mark.parametrize("suffix_out", [".jsonl", ".parquet", ".spacy"])
def test_every_format_into_every_other(tmp_path, suffix_in, suffix_out):
    if ".parquet" in (suffix_in, suffix_out):
        pytest.importorskip("pyarrow")
    source, target = write_input(tmp_path, suffix_in), tmp_path / f"out{suffix_out}"
    summary = run(source, target)
    assert (summary.annotated, summary.failed) == (len(TEXTS), 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([source.name, target.name, "scripted.cfg"])
    if suffix_out == ".spacy":
        docs = list(DocBin().from_disk(target).get_docs(spacy.blank("zh").vocab))
        assert [doc.text for doc in docs] == TEXTS
        assert [ent.text for ent in docs[0].ents] == ["张三", "東京"]
        assert docs[0].ents[0]._.eat_english == "Zhang San"
        return
    if suffix_out == ".parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(target).to_pylist()
    else:
        rows = read_jsonl(target)
    assert [row["text"] for row in rows] == TEXTS
    more = {} if suffix_in in (".txt", ".spacy") else {"id": 0, "meta": {"n": [0]}}
    assert rows[0] == ANNOTATED | more


def test_count_is_the_number_of_records(tmp_path):
    for suffix in (".txt", ".jsonl", ".parquet"):
        source = write_input(tmp_path, suffix)
        assert count_records(source) == len(list(read_records(source))) == len(TEXTS)
    assert count_records(write_input(tmp_path, ".jsonl.gz")) is None


def test_parquet_keeps_types_and_mixed_values(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    import datetime

    day = datetime.datetime(2024, 5, 1, 12)
    table = pa.table({"text": ["张三", "東京"], "day": [day, None], "n": pa.array([1, 2], pa.int16())})
    parquet.write_table(table, tmp_path / "in.parquet")
    run(tmp_path / "in.parquet", tmp_path / "out.parquet")
    result = parquet.read_table(tmp_path / "out.parquet")
    assert result.schema.field("day").type == table.schema.field("day").type
    assert result.select(["text", "day", "n"]).to_pylist() == table.to_pylist()

    write_lines(
        tmp_path / "in.jsonl", ['{"text": "a", "x": 1}', '{"text": "b", "x": "two"}', '{"text": "c"}']
    )
    run(tmp_path / "in.jsonl", tmp_path / "mixed.parquet")
    assert parquet.read_table(tmp_path / "mixed.parquet")["x"].to_pylist() == ["1", "two", None]


def test_folder_is_read_in_the_order_of_its_names(tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    write_lines(shards / "b.txt", ["三", "四"])
    write_lines(shards / "a.jsonl", ['{"text": "一"}', '{"text": "二"}'])
    (shards / "README.md").write_text("not a shard", encoding="utf-8")
    run(shards, tmp_path / "out.jsonl")
    assert [row["text"] for row in read_jsonl(tmp_path / "out.jsonl")] == ["一", "二", "三", "四"]


BROKEN = [
    b'{"text": "\xe5\xbc\xa0\xe4\xb8\x89"}',  # 张三
    b'{"text": "half',
    b'{"body": "no text"}',
    b'{"text": 7}',
    b'["not", "an", "object"]',
    b"",
    b'{"text": "\xb1\xb1\xbe\xa9"}',  # GB2312
    b'{"text": "\xe6\xaf\x92"}',  # 毒: the component raises
    b'{"text": "\xe8\xb4\xa5"}',  # 败: a sentence has an error
    b'{"text": "\\ud800"}',  # a lone surrogate
    b'{"text": "\xe6\x9d\xb1\xe4\xba\xac"}',  # 東京
]


def test_bad_records_are_put_aside_and_named(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(BROKEN))
    summary = run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", batch_size=4)
    assert (summary.annotated, summary.failed) == (2, 8)
    assert [row["text"] for row in read_jsonl(tmp_path / "out.jsonl")] == ["张三", "東京"]
    failed = read_jsonl(summary.side_file)
    assert [row["number"] for row in failed] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [row["where"] for row in failed] == [f"in.jsonl, line {n}" for n in (2, 3, 4, 5, 7, 8, 9, 10)]
    expected = ["line 2: not JSON", "'text' is missing", "'text' is not a string", "not a JSON object"]
    expected += [
        "line 7: byte 0xb1 is not UTF-8",
        "RuntimeError: the component",
        "TimeoutError: no answer",
        "UnicodeEncodeError",
    ]
    for row, words in zip(failed, expected, strict=True):
        assert words in row["error"]
    assert failed[5]["input"] == {"text": "毒"}


def test_what_a_run_has_cost(tmp_path):
    source = write_input(tmp_path, ".txt")
    summary = run(source, tmp_path / "out.jsonl")
    assert (summary.usage["requests"], summary.usage["cost"]) == (2 * len(TEXTS), 0.25 * len(TEXTS))
    assert run(source, tmp_path / "out.jsonl", mode="resume").usage["requests"] == 0


def test_a_server_that_is_down_stops_the_run(tmp_path, monkeypatch):
    """A million docs must not end in the side file for one wrong setting."""
    source, target = write_lines(tmp_path / "in.txt", ["张三"] * 20 + ["败"] * 40), tmp_path / "out.jsonl"
    with pytest.raises(PipelineError, match=r"20 docs in a row failed .*TimeoutError"):
        run(source, target, batch_size=20)
    assert len(read_jsonl(target)) == 20 and not (tmp_path / "out.jsonl.failed.jsonl").exists()
    monkeypatch.setenv("SCRIPTED_SERVER_IS_BACK", "1")
    summary = run(source, target, mode="resume", batch_size=20)
    assert (summary.before, summary.annotated, summary.failed) == (20, 40, 0)


@pytest.mark.parametrize("batch_size", [3, 16, 50])
@pytest.mark.parametrize("texts", [["败"] * 48, ["败", "", "败", " "] * 24], ids=["failing", "blank lines"])
def test_neither_small_batches_nor_blank_lines_hide_that_a_server_is_down(tmp_path, batch_size, texts):
    source, log = write_lines(tmp_path / "in.txt", texts), tmp_path / "log.txt"
    with pytest.raises(PipelineError, match=r"\d\d docs in a row failed .*TimeoutError"):
        run(source, tmp_path / "out.jsonl", batch_size=batch_size, log=log)
    asked = log.read_text(encoding="utf-8").count("败")
    assert asked <= max(18, batch_size)


def test_some_docs_that_work_are_reason_to_go_on(tmp_path):
    texts = ["败", "败", "张三"] * 16 + ["毒"] * 12
    summary = run(write_lines(tmp_path / "in.txt", texts), tmp_path / "out.jsonl")
    assert (summary.annotated, summary.failed) == (16, 44)
    assert summary.error == "TimeoutError: no answer"


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_nothing_is_removed_for_an_input_that_cannot_be_read(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    source, target = write_input(tmp_path, ".jsonl"), tmp_path / f"out{suffix}"
    run(source, target)
    before = target.read_bytes()
    for mode in ("overwrite", "resume", "retry"):
        with pytest.raises(InputError, match="field 'body' is missing"):
            run(source, target, mode=mode, text_field="body")
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    "name,content,message",
    [
        ("in.csv", b"a", "unknown suffix"),
        ("in.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 1000)[:-12], "broken after record"),
        ("in.parquet", b"PAR1", "broken"),
        ("in.spacy", b"nonsense", "broken"),
        ("missing.txt", None, "does not exist"),
    ],
    ids=["suffix", "gzip", "parquet", "spacy", "missing"],
)
def test_unusable_files_are_named(tmp_path, name, content, message):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        run(tmp_path / name, tmp_path / "out.jsonl")
    assert name in str(error.value)


def test_column_that_is_not_there(tmp_path):
    source = write_input(tmp_path, ".parquet")
    with pytest.raises(InputError, match="no column 'body', only text, id, meta"):
        run(source, tmp_path / "out.jsonl", text_field="body")


def test_output_is_not_touched_without_a_word(tmp_path):
    source, target = write_input(tmp_path, ".txt"), tmp_path / "out.jsonl"
    run(source, target)
    before = target.read_bytes()
    with pytest.raises(InputError, match="--resume"):
        run(source, target)
    with pytest.raises(InputError, match="unknown suffix"):
        run(source, tmp_path / "out.csv")
    other = write_lines(tmp_path / "other.txt", [*TEXTS[:-1], "别的"])
    with pytest.raises(InputError, match="another input"):
        run(other, target, mode="resume")
    assert target.read_bytes() == before
    run(other, target, mode="overwrite")
    assert read_jsonl(target)[-1]["text"] == "别的"


def test_input_is_never_the_output(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", ['{"text": "张三"}'])
    before = source.read_bytes()
    (tmp_path / "sub").mkdir()
    for mode in ("new", "overwrite", "resume", "retry"):
        with pytest.raises(InputError, match="cannot be input and output"):
            run(source, tmp_path / "sub" / ".." / "in.jsonl", mode=mode)
        with pytest.raises(InputError, match="in the input folder"):
            run(tmp_path, tmp_path / "out.jsonl", mode=mode)
    assert source.read_bytes() == before


def test_two_runs_cannot_write_one_output(tmp_path):
    pytest.importorskip("fcntl")
    from spacy_eat.annotate.journal import locked

    source, target = write_input(tmp_path, ".txt"), tmp_path / "out.jsonl"
    with locked(target), pytest.raises(InputError, match="another run"):
        run(source, target, mode="resume")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_retry_mends_in_place_and_asks_for_nothing_else(tmp_path, monkeypatch, suffix):
    texts = ["败一", "张三", "败二", "毒", "東京", "败三"]
    source, target = write_lines(tmp_path / "in.txt", texts), tmp_path / f"out{suffix}"
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    assert run(source, target).failed == 4
    monkeypatch.setenv("SCRIPTED_SERVER_IS_BACK", "1")
    summary = run(source, target, mode="retry", log=tmp_path / "log.txt")
    assert (summary.annotated, summary.failed) == (3, 1)
    assert set((tmp_path / "log.txt").read_text(encoding="utf-8").split()) == {"败一", "败二", "毒", "败三"}
    if suffix == ".parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(target).to_pylist()
    else:
        rows = read_jsonl(target)
    assert [row["text"] for row in rows] == ["败一", "张三", "败二", "東京", "败三"]
    assert [row["number"] for row in read_jsonl(summary.side_file)] == [3]
    assert run(source, target, mode="resume").annotated == 0  # the counts still add up


def results_of(numbers, failing):
    """Made-up results for records of different lengths."""
    for n in numbers:
        record = Record(n, f"line {n}", "字" * (n % 3), {"text": "字" * (n % 3)})
        yield Result(record, None, "boom") if n in failing else Result(record, {"n": n, **record.fields})


@pytest.mark.slow
def test_journal_goes_on_from_a_kill_at_any_byte(tmp_path):
    """Every state that a kill can leave: the side file is written first, then
    the output, each of them cut anywhere."""
    failing = {0, 3, 5, 6, 9}
    whole = Journal(tmp_path / "whole", tmp_path / "whole.failed")
    whole.append(results_of(range(4), failing))
    states = [(whole.path.read_bytes(), whole.failed.read_bytes())]
    whole.append(results_of(range(4, 10), failing))
    done, done_failed = whole.path.read_bytes(), whole.failed.read_bytes()
    states = [(states[0][0], done_failed[:end]) for end in range(len(states[0][1]), len(done_failed) + 1)]
    states += [(done[:end], done_failed) for end in range(len(states[0][0]), len(done) + 1)]
    assert len(states) > 200
    for output, failed in states:
        journal = Journal(tmp_path / "cut", tmp_path / "cut.failed")
        journal.path.write_bytes(output)
        journal.failed.write_bytes(failed)
        following = journal.recover()
        kept = [json.loads(line)["n"] for line in journal.path.read_bytes().splitlines()]
        assert sorted(kept + journal.failed_numbers()) == list(range(following))
        assert len(kept) >= output.count(b"\n")  # what was finished is never done again
        journal.append(results_of(range(following, 10), failing))
        assert journal.path.read_bytes() == done
        assert journal.failed.read_bytes() == done_failed


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_retry_is_done_or_not_done_after_a_kill(tmp_path, monkeypatch, renames):
    failing = {0, 3, 5}
    journal = Journal(tmp_path / "out", tmp_path / "out.failed")
    journal.append(results_of(range(7), failing))
    before = journal.path.read_bytes(), journal.failed.read_bytes()
    done = []
    rename = Path.replace

    def killed(path, target):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with contextlib.suppress(KeyboardInterrupt):
        journal.replace(results_of(sorted(failing), {5}))
    monkeypatch.undo()
    assert len(done) == renames
    assert journal.recover() == 7
    after = [json.loads(line)["n"] for line in journal.path.read_bytes().splitlines()]
    if renames:
        assert (after, journal.failed_numbers()) == ([0, 1, 2, 3, 4, 6], [5])
    else:
        assert (journal.path.read_bytes(), journal.failed.read_bytes()) == before
    assert {p.name for p in tmp_path.iterdir()} == {"out", "out.failed"}


def test_retry_with_another_input_changes_nothing(tmp_path):
    journal = Journal(tmp_path / "out", tmp_path / "out.failed")
    journal.append(results_of(range(7), {2, 5}))
    before = journal.path.read_bytes(), journal.failed.read_bytes()
    with pytest.raises(InputError, match="does not have"):
        journal.replace(results_of([2], set()))
    assert journal.recover() == 7 and (journal.path.read_bytes(), journal.failed.read_bytes()) == before


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("workers,kills", [(1, KILLS), (2, 1)])
def test_kill_and_resume(tmp_path, workers, kills):
    """`kill -9` at random points, through the command line."""
    count = 150 + 90 * kills
    texts = [f"败{i}" if i % 40 == 7 else f"张三{i}" for i in range(count)]
    source = write_lines(tmp_path / "in.txt", texts)
    run(source, tmp_path / "whole.jsonl", batch_size=16)

    target, log = tmp_path / "out.jsonl", tmp_path / "log.txt"
    config = scripted.write_config(tmp_path, log, delay=0.002)
    command = [sys.executable, "-m", "spacy", "eat", "annotate", str(source), str(target), "--resume"]
    command += [
        "--pipeline",
        str(config),
        "--code",
        scripted.__file__,
        "--batch-size",
        "16",
        "-w",
        str(workers),
    ]
    rng = random.Random(workers)
    for kill in range(1, kills + 2):
        last = kill > kills
        finished = {row["text"] for row in read_jsonl(target)} if target.exists() else set()
        asked = log.stat().st_size if log.exists() else 0
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        # The kill comes when so much has been asked for, finished or not.
        goal = asked + rng.randrange(200, 800)
        while not last and process.poll() is None and (not log.exists() or log.stat().st_size < goal):
            time.sleep(0.002)
        if not last:
            assert process.poll() is None, "finished before the kill: make the input longer"
            process.kill()
        output, _ = process.communicate()
        assert process.returncode == (0 if last else -signal.SIGKILL), output.decode()
        again = log.read_bytes()[asked:].decode("utf-8").split()
        assert not finished.intersection(again)
    assert target.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert read_jsonl(tmp_path / "out.jsonl.failed.jsonl") == read_jsonl(
        tmp_path / "whole.jsonl.failed.jsonl"
    )
    asked = log.read_text(encoding="utf-8").split()
    assert set(asked) == set(texts)
    # what was under way at a kill is asked for again, and nothing else
    assert len(asked) - len(texts) <= kills * 16 * (2 * workers if workers > 1 else 1)


@pytest.mark.slow
def test_ray_gives_the_same_output(tmp_path):
    pytest.importorskip("ray")
    source = write_lines(tmp_path / "in.txt", [f"败{i}" if i % 10 == 7 else f"张三{i}" for i in range(60)])
    run(source, tmp_path / "whole.jsonl", batch_size=8)
    config = scripted.write_config(tmp_path, tmp_path / "log.txt")
    settings = Settings(str(config), Path(scripted.__file__), batch_size=8)
    target = tmp_path / "out.jsonl"
    # as a killed run leaves it: the first records, and a torn line
    target.write_bytes((tmp_path / "whole.jsonl").read_bytes()[:1000])
    finished = target.read_bytes().count(b"\n")
    summary = annotate(source, target, settings, ray_cluster(settings, 2), mode="resume", progress=False)
    assert summary.before == finished > 0 and summary.before + summary.annotated + summary.failed == 60
    assert target.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert read_jsonl(summary.side_file) == read_jsonl(tmp_path / "whole.jsonl.failed.jsonl")
    assert len((tmp_path / "log.txt").read_text(encoding="utf-8").split()) == 60 - finished


@pytest.mark.slow
def test_ray_passes_on_why_a_run_stops(tmp_path):
    pytest.importorskip("ray")
    source = write_lines(tmp_path / "in.txt", ["败"] * 32)
    settings = Settings(str(scripted.write_config(tmp_path)), Path(scripted.__file__), batch_size=16)
    with pytest.raises(PipelineError, match="TimeoutError"):
        annotate(source, tmp_path / "out.jsonl", settings, ray_cluster(settings, 1), progress=False)


def test_ray_reader_passes_on_a_broken_file(tmp_path):
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n' * 1000)[:-12])
    source = json.dumps([str(tmp_path / "in.jsonl.gz"), *Source(tmp_path)[1:]])
    *_, last = ray_engine._read({"source": [source]}, 10)
    with pytest.raises(InputError, match=r"in\.jsonl\.gz is broken"):
        ray_engine._unpack_done(last["batch"][0])


@pytest.mark.slow
def test_memory_does_not_grow(tmp_path):
    def peak(lines: int) -> int:
        source = write_lines(tmp_path / "in.txt", (f"第{i}行有张三{i * 7919}号" for i in range(lines)))
        run(source, tmp_path / "out.jsonl", mode="overwrite", batch_size=100)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    first = peak(1000)
    assert peak(6000) - first < 10_000  # KiB


def test_load_pipeline_by_name_path_and_config(tmp_path):
    config = scripted.write_config(tmp_path)
    nlp = load_pipeline(str(config))
    assert nlp.lang == "zh" and nlp.pipe_names == ["scripted"]
    nlp.to_disk(tmp_path / "model")
    assert load_pipeline(str(tmp_path / "model")).pipe_names == ["scripted"]
    with pytest.raises(PipelineError, match="no pipeline 'no_such_pipeline'"):
        load_pipeline("no_such_pipeline")


def test_given_english_is_not_translated_again(tmp_path, make_nlp, llm):
    llm.names = {"Beijing": "北京", "Obama": "奥巴马"}
    llm.translations = {"奥巴马走了。": "Obama left.", "奥巴马来了。": "Obama came."}
    make_nlp().to_disk(tmp_path / "pipeline")
    rows = [
        {"source": "他在北京。", "en": "He is in Beijing."},
        {"source": "他在北京。奥巴马走了。", "en": ["He is in Beijing.", "Obama left."]},
        {"source": "奥巴马走了。"},
        {"source": "奥巴马来了。", "en": " "},
        {"source": "他在北京。", "en": 7},
        {"source": "他在北京。", "en": ["One.", "Two."]},
    ]
    source = write_lines(tmp_path / "in.jsonl", [json.dumps(row, ensure_ascii=False) for row in rows])
    settings = Settings(str(tmp_path / "pipeline"), text_field="source", english_field="en")
    summary = annotate(source, tmp_path / "out.jsonl", settings, here(settings), progress=False)
    assert (summary.annotated, summary.failed) == (4, 2)
    outputs = read_jsonl(tmp_path / "out.jsonl")
    assert [[e["text"] for e in row["entities"]] for row in outputs] == [
        ["北京"],
        ["北京", "奥巴马"],
        ["奥巴马"],
        ["奥巴马"],
    ]
    assert sum("\nNames: " not in prompt for prompt in llm.prompts) == 2
    errors = [row["error"] for row in read_jsonl(tmp_path / "out.jsonl.failed.jsonl")]
    assert "field 'en' is neither" in errors[0] and "2 strings for 1 sentences" in errors[1]
