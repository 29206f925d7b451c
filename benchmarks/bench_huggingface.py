"""Tokens a second of `spacy_eat.HuggingFace.v1` by batch size, beside what the
memory allows: each step has to read all weights once, for the whole batch.

    python -m benchmarks.bench_huggingface --model Qwen/Qwen2.5-7B-Instruct --batch 1 32 256

Without --model it is the base model of the extra `embedded`.
"""

import argparse
import time

from spacy_eat.llm.huggingface import make_huggingface
from spacy_eat.llm.prompts import LLMError
from spacy_eat.llm.tasks.translation import make_translation_task
from tests.conftest import DATA

from .bench_requests import read_texts


def bandwidth(device: str) -> float:
    """RETURNS (float): Bytes a second that the device's memory is read and written with."""
    import torch

    source = torch.ones(2**28 if device == "cpu" else 2**31, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        target.copy_(source)
        if device != "cpu":
            torch.cuda.synchronize()
        best = max(best, 2 * len(source) / (time.perf_counter() - started))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="name on the hub, or folder")
    parser.add_argument("--sentences", type=int, default=32)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--device", default="auto", help="as `device_map`")
    parser.add_argument("--dtype", default="auto")
    args = parser.parse_args()
    if args.model is None:
        from spacy_eat.weights.gemma import model_dir

        args.model = str(model_dir(None))

    texts = read_texts(DATA / "gold" / "zh_pud_half.iob2")[: args.sentences]
    task = make_translation_task(language="zh")
    prompts = [task.prompt(text, "zh") for text in texts]
    model = make_huggingface(
        args.model, device_map=args.device, dtype=args.dtype, batch_tokens=2**30, cache=None
    )
    started = time.perf_counter()
    loaded = model.load().model
    weights = sum(parameter.nbytes for parameter in loaded.parameters())  # tied ones once
    rate = bandwidth(loaded.device.type)
    print(f"{args.model}: {loaded.dtype} on {loaded.device}, loaded in {time.perf_counter() - started:.1f} s")
    print(f"{weights / 1e9:.2f} GB of weights, memory at {rate / 1e9:.0f} GB/s")
    print(" batch  tokens  seconds  tokens/s  of the limit  answers as one by one")
    alone: list[object] = []
    for size in args.batch:
        before = model.usage.completion_tokens
        started = time.perf_counter()
        answers = [
            a for i in range(0, len(prompts), size) for a in next(iter(model([prompts[i : i + size]])))
        ]
        seconds = time.perf_counter() - started
        tokens = model.usage.completion_tokens - before
        failed = sum(isinstance(answer, LLMError) for answer in answers)
        assert not failed, f"{failed} answers failed: {answers}"
        alone = alone or answers
        same = sum(a == b for a, b in zip(answers, alone, strict=True))
        # The limit: as many tokens as the batch has, in the time it takes to read the weights.
        share = tokens / seconds / (min(size, len(prompts)) * rate / weights)
        speed = f"{seconds:8.1f} {tokens / seconds:9.1f} {share:12.1%}"
        print(f"{size:6} {tokens:7} {speed} {same:10}/{len(answers)}")


if __name__ == "__main__":
    main()
