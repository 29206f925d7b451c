"""LoRA tuning of a causal LLM on examples, resumable to the step."""

import csv
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batches import batch_order
from .batches import IGNORE, Encoded, collate
from .config import Lora, Training

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
MISSING = 'Tuning needs more packages. Get them with: pip install "spacy-eat[embedded,train]"'


@dataclass
class State:
    """Where a run stands.

    step (int): Optimizer steps done.
    tokens (int): Tokens read, padding not counted.
    seconds (float): Time spent on them.
    log (List[Dict[str, float]]): One row per step: step, loss, learning rate.
    scores (List[Dict[str, Any]]): One row per evaluation.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)


def load_model(name: str, lora: Lora, seed: int) -> Any:
    """A base model with a new or a given adapter, the adapter alone trainable.

    name (str): Folder or name of a causal LLM of transformers.
    lora (Lora): The adapter's settings.
    seed (int): Decides its initial weights.
    RETURNS (PeftModel): On the CPU; the base in bfloat16 if it is stored so.
    RAISES (ImportError): If peft is not installed.
    RAISES (ValueError): If the initial adapter belongs to another base.
    """
    try:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise ImportError(MISSING) from error

    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(
        name, torch_dtype="auto", attn_implementation="sdpa", trust_remote_code=False
    )
    base.config.use_cache = False
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.modules,
    )
    model = get_peft_model(base, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if lora.initial is not None:
        load_adapter(model, lora.initial)
    return model


def load_adapter(model: Any, path: Path) -> None:
    """Set the weights of a model's adapter to stored ones.

    model (PeftModel): The model.
    path (Path): Folder with `adapter_model.safetensors`.
    RAISES (ValueError): If they do not fit: another base, rank or set of layers.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    stored = load_file(path / ADAPTER_FILES[1])
    own = adapter_weights(model)
    wrong = sorted(stored.keys() ^ own.keys()) or [k for k in own if own[k].shape != stored[k].shape]
    if wrong:
        raise ValueError(
            f"The adapter in {path} does not fit: another base, rank or set of layers (see {wrong[0]})"
        )
    set_peft_model_state_dict(model, stored)


def adapter_weights(model: Any) -> "dict[str, torch.Tensor]":
    """RETURNS (Dict[str, torch.Tensor]): A model's adapter, as peft stores it."""
    from peft import get_peft_model_state_dict

    return {name: tensor.detach().cpu() for name, tensor in get_peft_model_state_dict(model).items()}


def export_adapter(model: Any, path: Path, base_name: str) -> None:
    """Write an adapter as peft reads it, in half precision.

    model (PeftModel): The model.
    path (Path): The folder.
    base_name (str): What its config says it belongs to.
    """
    import torch
    from safetensors.torch import save

    path.mkdir(parents=True, exist_ok=True)
    config = model.peft_config["default"].to_dict()
    config.update(base_model_name_or_path=base_name, inference_mode=True)
    config = {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in sorted(config.items())
        if value is not None
    }
    text = json.dumps(config, indent=2, ensure_ascii=False, default=str)
    (path / ADAPTER_FILES[0]).write_text(text + "\n", encoding="utf-8")
    weights = {name: tensor.to(torch.float16).contiguous() for name, tensor in adapter_weights(model).items()}
    (path / ADAPTER_FILES[1]).write_bytes(save(weights, metadata={"format": "pt"}))


def answer_scores(
    model: Any, batch: "Mapping[str, torch.Tensor]", vocabulary: "torch.Tensor | None"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """How likely the tokens of all answers of a batch are.

    The vocabulary head, the largest layer of a small model, is only computed
    where an answer's token is predicted.

    model (PeftModel): The model.
    batch (Mapping[str, torch.Tensor]): See `batches.collate`.
    vocabulary (Optional[torch.Tensor]): The sorted token ids to tell the
        answers from, None for all.
    RETURNS (Tuple[torch.Tensor, torch.Tensor]): For each answer token, in the
        order of the batch, its negative log-probability, and whether no other
        token is likelier.
    """
    import torch
    from torch.nn import functional

    base = model.get_base_model()
    hidden = base.get_decoder()(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=batch["attention_mask"],
        use_cache=False,
    ).last_hidden_state
    answered = batch["labels"] != IGNORE
    labels = batch["labels"][answered]
    head = base.get_output_embeddings()
    weight, bias = head.weight, getattr(head, "bias", None)
    if vocabulary is not None:
        weight, bias = weight[vocabulary], None if bias is None else bias[vocabulary]
        labels = torch.searchsorted(vocabulary, labels)
    logits = functional.linear(hidden[answered].to(weight.dtype), weight, bias).float()
    cap = getattr(base.config.get_text_config(), "final_logit_softcapping", None)
    if cap:
        logits = torch.tanh(logits / cap) * cap
    losses = functional.cross_entropy(logits, labels, reduction="none")
    return losses, logits.detach().argmax(-1) == labels


def learning_rate(training: Training, step: int) -> float:
    """The rate of a step: up, level, down.

    training (Training): The settings.
    step (int): From 0 on.
    """
    up = (step + 1) / (training.warmup + 1)
    down = (training.steps - step) / (training.decay + 1)
    return training.learning_rate * max(0.0, min(1.0, up, down))


def batches_from(lengths: Sequence[Sequence[int]], training: Training, start: int) -> Iterator[list[int]]:
    """The batches of a run without end, epoch after epoch.

    lengths (Sequence[Sequence[int]]): See `batch_order`.
    training (Training): The settings.
    start (int): Batches to skip.
    YIELDS (List[int]): Indices of examples.
    """
    epoch = 0
    while True:
        order = batch_order(lengths, training.batch_tokens, seed=training.seed + epoch)
        yield from order[start:]
        start = max(0, start - len(order))
        epoch += 1


class Tuner:
    """One run: model, optimizer and place in the data."""

    def __init__(
        self,
        model: Any,
        examples: Sequence[Encoded],
        tests: Mapping[str, Sequence[Encoded]],
        training: Training,
        output: Path,
        base_name: str,
    ) -> None:
        """
        model (PeftModel): The model with the adapter to train.
        examples (Sequence[Encoded]): What to train on.
        tests (Mapping[str, Sequence[Encoded]]): What is held out, by name.
        training (Training): The settings.
        output (Path): Folder for checkpoints, curve and adapter.
        base_name (str): What the adapter's config says it belongs to.
        RAISES (ImportError): If accelerate is not installed.
        RAISES (ValueError): If there is nothing to train on.
        """
        try:
            import torch
            from accelerate import Accelerator
        except ImportError as error:
            raise ImportError(MISSING) from error
        if not examples:
            raise ValueError("There are no examples to train on: see what was dropped from the corpora")
        self.training = training
        self.output = output
        self.base_name = base_name
        self.examples = examples
        self.tests = tests
        self.state = State()
        self.accelerator = Accelerator(mixed_precision=training.precision)
        vocabulary = None
        if training.vocabulary == "corpus":
            seen = {i for e in examples for q in e.questions for i in (*e.prefix, *q.prompt, *q.answer)}
            seen |= {i for group in tests.values() for e in group for q in e.questions for i in q.answer}
            vocabulary = torch.tensor(sorted(seen), device=self.accelerator.device)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            self.parameters, lr=training.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        module = _answer_scores_module(model, vocabulary, autocast=training.precision == "bf16")
        self.module, self.optimizer = self.accelerator.prepare(module, optimizer)

    @property
    def model(self) -> Any:
        """The bare model with its adapter."""
        return self.accelerator.unwrap_model(self.module).model

    def run(self, resume: bool = True) -> State:
        """Train to the last step, evaluate, write the adapter.

        resume (bool): Go on from the last checkpoint, if there is one.
        RETURNS (State): The end.
        """
        from tqdm import tqdm

        training, state = self.training, self.state
        if resume:
            self.load_checkpoint()
            state = self.state
        workers, own = self.accelerator.num_processes, self.accelerator.process_index
        per_step = training.accumulate * workers
        lengths = [(len(example),) for example in self.examples]
        batches = batches_from(lengths, training, start=state.step * per_step)
        saved = time.monotonic()
        bar = tqdm(
            total=training.steps,
            initial=state.step,
            unit="step",
            disable=not self.accelerator.is_main_process,
        )
        self.module.train()
        while state.step < training.steps:
            begun = time.monotonic()
            step_batches = [next(batches) for _ in range(per_step)]
            rate = learning_rate(training, state.step)
            loss = self._step(step_batches, own, workers, rate)
            if not math.isfinite(loss):
                raise ValueError(f"The loss is {loss} at step {state.step}: lower training.learning_rate")
            state.step += 1
            state.tokens += sum(len(self.examples[i]) for batch in step_batches for i in batch)
            state.seconds += time.monotonic() - begun
            state.log.append({"step": state.step, "loss": loss, "learning_rate": rate})
            recent = state.log[-20:]
            bar.set_postfix(
                loss=f"{sum(row['loss'] for row in recent) / len(recent):.3f}",
                tokens_s=f"{state.tokens / state.seconds:.0f}",
            )
            bar.update()
            last = state.step == training.steps
            if last or (training.evaluate_steps and state.step % training.evaluate_steps == 0):
                state.scores.append({"step": state.step, **self.evaluate()})
                bar.write(json.dumps(state.scores[-1]))
            if last or time.monotonic() - saved > 60 * training.checkpoint_minutes:
                self.save_checkpoint()
                saved = time.monotonic()
        bar.close()
        if self.accelerator.is_main_process:
            export_adapter(self.model, self.output / "adapter", self.base_name)
        return state

    def _step(self, batches: Sequence[Sequence[int]], own: int, workers: int, rate: float) -> float:
        """One optimizer step.

        batches (Sequence[Sequence[int]]): Those of all processes.
        own, workers (int): Number of this process, and of all.
        rate (float): Learning rate.
        RETURNS (float): Loss per weighted answer token, over all processes.
        """
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = rate
        collated = [collate([self.examples[i] for i in batch], self.training.weights) for batch in batches]
        total = sum(float(batch["weights"].sum()) for batch in collated) or 1.0
        device = self.accelerator.device
        loss = torch.zeros((), device=device)
        mine = collated[own::workers]
        for number, batch in enumerate(mine, 1):
            with self._sync(number == len(mine)):
                losses, _ = self.module({name: tensor.to(device) for name, tensor in batch.items()})
                weights = batch["weights"][batch["labels"] != IGNORE].to(device)
                part = (losses * weights).sum() / total
                self.accelerator.backward(part * workers)  # gradients are averaged over processes
                loss += part.detach()
        self.accelerator.clip_grad_norm_(self.parameters, self.training.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(self.accelerator.reduce(loss, reduction="sum"))

    def _sync(self, last: bool) -> Any:
        from contextlib import nullcontext

        return nullcontext() if last else self.accelerator.no_sync(self.module)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Answer what is held out, each token after the right ones before it.

        RETURNS (Dict[str, Dict[str, float]]): By name of the test: "loss" per
            token in nats, and "exact", the share of answers that greedy
            decoding would give as they stand.
        """
        import torch

        self.module.eval()
        device = self.accelerator.device
        scores: dict[str, dict[str, float]] = {}
        for name, examples in self.tests.items():
            loss, exact, tokens, questions = 0.0, 0, 0, 0
            lengths = [(len(example),) for example in examples]
            for batch in batch_order(lengths, self.training.batch_tokens, seed=0):
                chosen = [examples[i] for i in batch]
                tensors = collate(chosen, dict.fromkeys(("alignment", "translation"), 1.0))
                with torch.no_grad():
                    losses, hits = self.module({key: value.to(device) for key, value in tensors.items()})
                loss += float(losses.sum())
                tokens += len(losses)
                rest = hits.tolist()
                for size in (len(q.answer) for e in chosen for q in e.questions):
                    exact += all(rest[:size])
                    questions += 1
                    del rest[:size]
            if questions:
                scores[name] = {"loss": round(loss / tokens, 4), "exact": round(exact / questions, 4)}
        self.module.train()
        return scores

    # --- Checkpoints -----------------------------------------------------------

    def save_checkpoint(self) -> None:
        """Write all that a run needs to go on as if it had never stopped."""
        import torch
        from safetensors.torch import save_file

        if not self.accelerator.is_main_process:
            return
        folder = self.output / f"checkpoint-{self.state.step:06}"
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        tensors = {f"parameter.{i}": p.detach() for i, p in enumerate(self.parameters)}
        for i, parameter in enumerate(self.parameters):
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{i}.{key}"] = torch.as_tensor(value)
        tensors["rng"] = torch.get_rng_state()
        save_file(
            {key: value.cpu().contiguous() for key, value in tensors.items()}, partial / "state.safetensors"
        )
        (partial / "state.json").write_text(json.dumps(asdict(self.state)), encoding="utf-8")
        export_adapter(self.model, partial, self.base_name)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        for old in checkpoints(self.output)[:-2]:
            shutil.rmtree(old)
        write_curve(self.state, self.output)

    def load_checkpoint(self) -> None:
        """Go on from the last checkpoint, if there is one.

        RAISES (ValueError): If it is of another model or adapter.
        """
        import torch
        from safetensors.torch import load_file

        found = checkpoints(self.output)
        if not found:
            return
        self.state = State(**json.loads((found[-1] / "state.json").read_text(encoding="utf-8")))
        tensors = load_file(found[-1] / "state.safetensors")
        shapes = [tuple(p.shape) for p in self.parameters]
        stored = [
            tuple(tensors[f"parameter.{i}"].shape) for i in range(len(shapes)) if f"parameter.{i}" in tensors
        ]
        if shapes != stored:
            raise ValueError(f"{found[-1]} is of another base model or adapter; use another output folder")
        for i, parameter in enumerate(self.parameters):
            parameter.data.copy_(tensors[f"parameter.{i}"])
            keys = [key for key in tensors if key.startswith(f"optimizer.{i}.")]
            self.optimizer.state[parameter] = {
                key.rsplit(".", 1)[1]: tensors[key].to(parameter.device if tensors[key].ndim else "cpu")
                for key in keys
            }
        torch.set_rng_state(tensors["rng"])


def checkpoints(output: Path) -> list[Path]:
    """Complete checkpoints in a folder, the oldest first."""
    return sorted(path for path in output.glob("checkpoint-*") if path.suffix != ".partial")


def write_curve(state: State, output: Path) -> None:
    """Write `loss.csv` and, where matplotlib is installed, `loss.png`.

    state (State): With the log of all steps.
    output (Path): The folder.
    """
    with (output / "loss.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["step", "loss", "learning_rate"])
        writer.writeheader()
        writer.writerows(state.log)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    steps, losses = [row["step"] for row in state.log], [row["loss"] for row in state.log]
    axes.plot(steps, losses, color="0.8", linewidth=0.8)
    width = max(1, len(losses) // 40)
    means = [
        sum(losses[max(0, i - width) : i + 1]) / len(losses[max(0, i - width) : i + 1])
        for i in range(len(losses))
    ]
    axes.plot(steps, means, label="training")
    for name in sorted({name for row in state.scores for name in row if name != "step"}):
        rows = [(row["step"], row[name]["loss"]) for row in state.scores if name in row]
        axes.plot(*zip(*rows, strict=True), marker="o", markersize=3, label=f"held out: {name}")
    axes.set_xlabel("step")
    axes.set_ylabel("loss per answer token (nats)")
    axes.legend()
    figure.savefig(output / "loss.png", dpi=110)


def _answer_scores_module(model: Any, vocabulary: "torch.Tensor | None", autocast: bool) -> Any:
    """`answer_scores` as a module, so that accelerate can wrap it."""
    import torch
    from peft.helpers import disable_input_dtype_casting

    class AnswerScores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            # Autocast casts what an adapter reads; peft would first cast it to float32.
            with disable_input_dtype_casting(self.model, active=autocast):
                return answer_scores(self.model, batch, vocabulary)

    return AnswerScores()
