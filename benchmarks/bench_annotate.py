"""What `annotate` stands, and what it takes.

    python -m benchmarks.bench_annotate kill --records 2000 --kills 20
    python -m benchmarks.bench_annotate memory --lines 10000 1000000
    python -m benchmarks.bench_annotate memory --lines 10000 1000000 --engine ray --workers 1
    python -m benchmarks.bench_annotate workers --engine ray --lines 20000

kill: both components on a chat completions server (real HTTP, no cache), `kill
-9` at random requests, resumed each time; the output is compared with that of
an uninterrupted run, and the requests with what was finished.

memory: a scripted pipeline over many short lines; the peak memory of each
process that is not shared with others.

workers: the same lines with 1 and 2 workers, once where a doc costs nothing but
the CPU, and once where it waits for somebody else.
"""

import argparse
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import spacy

from tests import scripted
from tests.llm.server import Reply, Server, reply

ANNOTATE = [sys.executable, "-m", "spacy", "eat", "annotate"]


def answer(request: dict[str, Any]) -> Reply:
    if "\nNames: " in request["messages"][-1]["content"]:
        return reply(json.dumps({"Beijing": "北京"}, ensure_ascii=False), delay=0.02)
    return reply("He lives in Beijing.", delay=0.02)


def save_pipeline(folder: Path, url: str) -> Path:
    english = spacy.blank("en")
    english.add_pipe("entity_ruler").add_patterns([{"label": "LOC", "pattern": "Beijing"}])
    english.to_disk(folder / "english")
    model = {"@llm_models": "spacy_eat.ChatCompletions.v1", "name": "m", "base_url": url, "cache": None}
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_translator", config={"model": model})
    side = {"@misc": "spacy_eat.EnglishPipeline.v1", "name": str(folder / "english")}
    nlp.add_pipe(
        "eat_entity_aligner",
        config={"aligner": {"model": model, "first": None}, "tagger": side, "source_tagger": None},
    )
    nlp.to_disk(folder / "nlp")
    return folder / "nlp"


def kill(folder: Path, records: int, kills: int, seed: int) -> None:
    texts = [f"第{i}号人物住在北京。" for i in range(records)]
    source, target = folder / "in.txt", folder / "out.jsonl"
    source.write_text("\n".join(texts), encoding="utf-8")
    rng = random.Random(seed)
    wasted = 0
    with Server(answer) as server:
        pipeline = save_pipeline(folder, server.url)
        command = [*ANNOTATE, str(source), "-p", str(pipeline), "--batch-size", "16"]
        subprocess.run([*command, str(folder / "whole.jsonl")], check=True, capture_output=True)
        needed = len(server.requests)
        server.requests.clear()
        # Everywhere in the run, its beginning and its end among them.
        points = sorted(rng.sample(range(1, needed), kills))
        for number, point in enumerate([*points, None], 1):
            finished = target.read_text(encoding="utf-8").splitlines() if target.exists() else []
            done = {json.loads(line)["text"] for line in finished}
            before = len(server.requests)
            process = subprocess.Popen(
                [*command, str(target), "--resume"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            goal = None if point is None else before + max(1, point - 2 * len(done) + rng.randrange(16))
            while process.poll() is None and (goal is None or len(server.requests) < goal):
                time.sleep(0.001)
            if goal is not None and process.poll() is None:
                process.send_signal(signal.SIGKILL)
            _, errors = process.communicate()
            assert process.returncode in (0, -signal.SIGKILL), errors.decode()
            asked = [request["messages"][-1]["content"] for request in server.requests[before:]]
            again = [text for text in done if any(text in prompt for prompt in asked)]
            assert not again, f"requested again: {again}"
            wasted += len(asked)
            print(f"run {number:2}: {len(done):5} finished before, {len(asked):5} requests", flush=True)
    assert target.read_bytes() == (folder / "whole.jsonl").read_bytes()
    print(f"{records} records, {kills} kills: the output is that of an uninterrupted run.")
    print(f"{wasted} requests, {needed} without kills; none for a record that was finished.")


def private(process: psutil.Process) -> int:
    memory = process.memory_info()
    return int(memory.rss - memory.shared)


def peaks(command: Sequence[str]) -> tuple[dict[str, float], float]:
    """RETURNS (Tuple[Dict[str, float], float]): By kind of process the peak of a
    single one, in MB, and the seconds it all took."""
    most: Counter[str] = Counter()
    started = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = psutil.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            for each in [process, *process.children(recursive=True)]:
                try:
                    name = "main" if each == process else each.name()
                    if name.startswith("ray::"):  # the kind of task or actor, whatever it is doing
                        name = re.split(r"[.\[\-]", name.removeprefix("ray::"))[0]
                    most[name] = max(most[name], private(each))
                except psutil.Error:
                    continue
            time.sleep(0.1)
        log.seek(0)
        assert process.returncode == 0, log.read().decode("utf-8")[-2000:]
    return {name: size / 1e6 for name, size in most.items()}, time.perf_counter() - started


def run_scripted(folder: Path, lines: int, options: Sequence[str], delay: float) -> tuple[Any, float]:
    config = scripted.write_config(folder, delay=delay)
    source, target = folder / "in.txt", folder / "out.jsonl"
    with source.open("w", encoding="utf-8") as file:
        file.writelines(f"第{i}行有张三{i * 7919}号\n" for i in range(lines))
    command = [*ANNOTATE, str(source), str(target), "-p", str(config), "--code", scripted.__file__]
    result = peaks([*command, "--overwrite", *options])
    with target.open("rb") as file:
        assert sum(1 for _ in file) == lines
    return result


def memory(folder: Path, counts: Sequence[int], options: Sequence[str]) -> None:
    found = []
    for lines in counts:
        most, seconds = run_scripted(folder, lines, options, 0.0)
        found.append(most)
        shown = ", ".join(f"{name} {size:.0f} MB" for name, size in sorted(most.items()))
        print(f"{lines:8} lines in {seconds:6.1f} s ({lines / seconds:6.0f}/s): {shown}", flush=True)
    first, last = found[0], found[-1]
    growth = {name: round(last[name] - first[name]) for name in first if name in last}
    print(f"growth in MB: {growth}")


def workers(folder: Path, lines: int, engine: str, delays: Sequence[float]) -> None:
    print("delay (ms)  workers  seconds  docs/s  speed-up")
    for delay in delays:
        seconds = []
        for count in (1, 2):
            options = ["--engine", engine, "--workers", str(count)]
            seconds.append(run_scripted(folder, lines, options, delay)[1])
            row = f"{delay * 1000:10.1f} {count:8} {seconds[-1]:8.1f} {lines / seconds[-1]:7.0f}"
            print(f"{row} {seconds[0] / seconds[-1]:9.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["kill", "memory", "workers"])
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lines", type=int, nargs="+", default=[10_000])
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--delays", type=float, nargs="+", default=[0.0, 0.002], help="seconds a doc waits")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        if args.what == "kill":
            kill(folder, args.records, args.kills, args.seed)
        elif args.what == "memory":
            options = ["--engine", args.engine, "--workers", str(args.workers)]
            memory(folder, args.lines, [*options, "--batch-size", str(args.batch_size)])
        else:
            workers(folder, args.lines[0], args.engine, args.delays)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
