"""`eat_token_classifier`: NER by a fine-tuned Hugging Face encoder, as an ordinary trainable component.

Why not spacy-transformers' `transformer` and `ner`: their weights are stored with `torch.save`, which is a
pickle, in fp32, and their parser is trained and run step by step. Here the classifier stands directly on the
encoder. What is saved is a Hugging Face model folder with fp16 safetensors, half the size, which
`transformers` reads as well. In the other direction, `encoder` may be a token classifier that is already
fine-tuned.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import srsly
from spacy.errors import Errors
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import SimpleFrozenList
from spacy.vocab import Vocab
from thinc.api import ArgsKwargs, Model, chain, get_torch_default_device, torch2xp, xp2torch
from thinc.types import Floats2d

from ..llm.local import likes_bfloat16

_CASES = 4  # of a token: none upper, first upper, all upper, mixed


@dataclass
class Windows:
    """Docs as an encoder wants them: windows of word pieces, padded to one length.

    inputs (Dict[str, Tensor]): Arguments of the encoder, each of shape (windows, pieces).
    rows, columns (List[int]): For every token of every doc its window, and in it the token's first piece.
        Column 0 (the special token at the start) stands for tokens that have none: white space, and
        tokens that begin within a piece.
    """

    inputs: dict[str, Any]
    rows: list[int]
    columns: list[int]


@Language.factory(
    "eat_token_classifier",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={
        "encoder": "roberta-base",
        "casing": False,
        "train_embeddings": True,
        "mixed_precision": False,
        "max_length": 256,
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_token_classifier(
    nlp: Language,
    name: str,
    encoder: str,
    casing: bool,
    train_embeddings: bool,
    mixed_precision: bool,
    max_length: int,
) -> "TokenClassifier":
    """Construct a token classifier. See `TokenClassifier` for the arguments."""
    return TokenClassifier(
        nlp.vocab,
        name,
        encoder=encoder,
        casing=casing,
        train_embeddings=train_embeddings,
        mixed_precision=mixed_precision,
        max_length=max_length,
    )


class TokenClassifier(TrainablePipe):
    """NER with BIO tags from a classification head on an encoder. Every token gets the tag of its first word
    piece; the best sequence of tags in which no I- stands without its B- is decoded."""

    def __init__(
        self,
        vocab: Vocab,
        name: str = "eat_token_classifier",
        *,
        encoder: str = "roberta-base",
        casing: bool = False,
        train_embeddings: bool = True,
        mixed_precision: bool = False,
        max_length: int = 256,
    ) -> None:
        """
        vocab (Vocab): The shared vocabulary.
        name (str): The component's name in the pipeline.
        encoder (str): Name or path of a Hugging Face model with safetensors weights and a fast tokenizer,
            used when training begins. What is loaded from disk brings its own.
        casing (bool): Tell an uncased encoder how a token is capitalised, by token type embeddings. It must
            have such embeddings (BERT and its kin).
        train_embeddings (bool): Whether word embeddings are tuned too. Without, training is faster, and names
            that were not in the training data are treated like those that were.
        mixed_precision (bool): Train and run in fp16 on a GPU, in bf16 on a CPU that has instructions for it.
        max_length (int): Word pieces per window. Longer docs are read in windows that overlap by a quarter.
        """
        self.vocab = vocab
        self.name = name
        self.encoder = encoder
        self.casing = casing
        self.train_embeddings = train_embeddings
        self.mixed_precision = mixed_precision
        self.cfg: dict[str, Any] = {"labels": [], "casing": casing, "max_length": max_length}
        self.model: Model[list[Doc], Floats2d] = _build_model(
            self.cfg, mixed_precision and get_torch_default_device().type == "cuda"
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The entity labels."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> list[str]:
        """RETURNS (List[str]): What `spacy init labels` stores, and `initialize` takes."""
        return list(self.labels)

    @property
    def tags(self) -> list[str]:
        """RETURNS (List[str]): The tags, in the order of the output."""
        return ["O", *(f"{prefix}-{label}" for label in self.labels for prefix in "BI")]

    def add_label(self, label: str) -> int:
        """Labels are fixed once the classification head has its size.

        label (str): The label.
        RETURNS (int): 1 if it was added, 0 if it was there.
        RAISES (ValueError): If the component is initialized already.
        """
        if label in self.labels:
            return 0
        if self._module is not None:
            raise ValueError(Errors.E922.format(name=self.name, nO=len(self.tags)))
        self.cfg["labels"].append(label)
        return 1

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Load the encoder, and put a new classification head on it unless it has one for these labels.

        get_examples (Callable[[], Iterable[Example]]): A sample of the training data, for the labels.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Sequence[str]]): The entity labels. None: those in the sample.
        RAISES (ValueError): If the encoder cannot be loaded, or has no embeddings for the casing.
        """
        if labels is None:
            labels = sorted({ent.label_ for example in get_examples() for ent in example.reference.ents})
        self.cfg["labels"] = list(labels)
        if not self.labels:
            raise ValueError(
                f"There is no entity in the training data of '{self.name}': check `[corpora.train]`."
            )
        module = self._load(self.encoder)
        if self.casing:
            _add_cases(module, self.encoder)
        if not self.train_embeddings:
            module.get_input_embeddings().requires_grad_(False)
        self._set_module(module)

    def predict(self, docs: Iterable[Doc]) -> list[list[str]]:
        """Tag docs, without changing them.

        docs (Iterable[Doc]): The docs.
        RETURNS (List[List[str]]): For each doc a BIO tag per token.
        """
        docs = list(docs)
        if self._module is None:
            raise ValueError(Errors.E109.format(name=self.name))
        # Docs of similar length share a batch, so that little of it is padding.
        order = sorted(range(len(docs)), key=lambda i: len(docs[i]))
        tags: list[list[str]] = [[] for _ in docs]
        for _, group in groupby(enumerate(order), key=lambda item: item[0] // 32):
            indices = [i for _, i in group if len(docs[i])]
            if not indices:
                continue
            scores = self.model.ops.to_numpy(self.model.predict([docs[i] for i in indices]))
            ends = np.cumsum([len(docs[i]) for i in indices])
            for i, doc_scores in zip(indices, np.split(scores, ends[:-1]), strict=True):
                has_piece = np.asarray(doc_scores.any(axis=1))
                found = iter(decode(doc_scores[has_piece]) if has_piece.any() else [])
                known = [self.tags[next(found)] if has else None for has in has_piece]
                tags[i] = _fill(docs[i], known)
        return tags

    def set_annotations(self, docs: Iterable[Doc], tags: Iterable[Sequence[str]]) -> None:
        """Set `doc.ents`. Entities that are there already stay.

        docs (Iterable[Doc]): The docs.
        tags (Iterable[Sequence[str]]): What `predict` returned.
        """
        for doc, doc_tags in zip(docs, tags, strict=True):
            taken = {token.i for ent in doc.ents for token in ent}
            spans = [span for span in _spans(doc, doc_tags) if taken.isdisjoint(range(span.start, span.end))]
            doc.set_ents([*doc.ents, *spans], default="outside")

    def get_loss(self, examples: Iterable[Example], scores: Floats2d) -> tuple[float, Floats2d]:
        """Cross entropy. Tokens whose gold tag is not known, or that gold entities cut through, do not count.

        examples (Iterable[Example]): The batch.
        scores (Floats2d): Output of the model, (tokens, tags).
        RETURNS (Tuple[float, Floats2d]): The mean loss, and its gradient.
        """
        xp = self.model.ops.xp
        index = {tag: i for i, tag in enumerate(self.tags)}
        as_bio = {"U": "B", "L": "I"}
        gold = [
            index.get(as_bio.get(tag[0], tag[0]) + tag[1:], -1) if tag else -1
            for example in examples
            for tag in example.get_aligned_ner()
        ]
        known = xp.asarray([i for i, tag in enumerate(gold) if tag >= 0], dtype="i")
        targets = xp.asarray([tag for tag in gold if tag >= 0], dtype="i")
        gradient = xp.zeros_like(scores)
        if not len(known):
            return 0.0, gradient
        probabilities = self.model.ops.softmax(scores[known])
        loss = -xp.log(probabilities[xp.arange(len(known)), targets] + 1e-12).mean()
        probabilities[xp.arange(len(known)), targets] -= 1
        gradient[known] = probabilities / len(known)
        return float(loss), gradient

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """RETURNS (Dict[str, Any]): Strict precision, recall and F-score, as of spaCy's own NER."""
        return get_ner_prf(examples, **kwargs)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()) -> None:
        """Write the settings, and the Hugging Face model in the folder `model`.

        path (Union[str, Path]): The component's folder.
        exclude (Iterable[str]): Names of what to leave out.
        """
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        srsly.write_json(path / "cfg", self.cfg)
        if "model" not in exclude and self._module is not None:
            self._save(path / "model")

    def from_disk(
        self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "TokenClassifier":
        """Read what `to_disk` wrote.

        path (Union[str, Path]): The component's folder.
        exclude (Iterable[str]): Names of what to leave out.
        RETURNS (TokenClassifier): The component itself.
        """
        path = Path(path)
        self.cfg.update(srsly.read_json(path / "cfg"))
        if "model" not in exclude and (path / "model").is_dir():
            self._set_module(self._load(str(path / "model")))
        return self

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """RETURNS (bytes): The files of `to_disk`."""
        with TemporaryDirectory() as folder:
            self.to_disk(folder, exclude=exclude)
            files = {
                file.relative_to(folder).as_posix(): file.read_bytes()
                for file in Path(folder).rglob("*")
                if file.is_file()
            }
        return srsly.msgpack_dumps(files)

    def from_bytes(
        self, bytes_data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "TokenClassifier":
        """Read what `to_bytes` gave."""
        with TemporaryDirectory() as folder:
            for name, content in srsly.msgpack_loads(bytes_data).items():
                file = Path(folder) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            return self.from_disk(folder, exclude=exclude)

    @property
    def _module(self) -> Any:
        """The torch module, None before there is one."""
        return self.model.layers[1].shims[0]._model

    def _set_module(self, module: Any) -> None:
        import torch

        device = get_torch_default_device()
        # The shim only knows of GPUs.
        if self.mixed_precision and device.type == "cpu" and likes_bfloat16("cpu"):
            module.forward = torch.autocast("cpu", torch.bfloat16)(module.forward)
        self.model.layers[1].shims[0]._model = module.to(device)

    def _load(self, name: str) -> Any:
        """Load a token classifier for the labels and its tokenizer, safetensors only, without remote code."""
        transformers = _import_transformers()
        tags = dict(enumerate(self.tags))
        try:
            self.model.layers[0].attrs["tokenizer"] = transformers.AutoTokenizer.from_pretrained(
                name, use_fast=True
            )
            return transformers.AutoModelForTokenClassification.from_pretrained(
                name,
                id2label=tags,
                label2id={tag: i for i, tag in tags.items()},
                ignore_mismatched_sizes=True,  # a head for other labels is replaced
                use_safetensors=True,
                torch_dtype="float32",
            )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"The encoder '{name}' cannot be loaded: {error}\nGive `encoder` of '{self.name}' the name of"
                " a model on the Hugging Face Hub, or, without a network, the path of a folder with"
                " config.json, model.safetensors and tokenizer.json."
            ) from error

    def _save(self, path: Path) -> None:
        import torch

        weights = {
            name: tensor.half() if tensor.dtype == torch.float32 else tensor
            for name, tensor in self._module.state_dict().items()
        }
        self._module.save_pretrained(path, state_dict=weights, safe_serialization=True)
        self.model.layers[0].attrs["tokenizer"].save_pretrained(path)


def decode(scores: np.ndarray) -> list[int]:
    """Viterbi decoding. Of all sequences of tags in which an I- follows only a B- or I- of its label, the one
    with the highest sum of scores.

    scores (ndarray): Shape (tokens, tags), tags in the order O, B-X, I-X, B-Y, I-Y, ...
    RETURNS (List[int]): A tag per token.
    """
    count = scores.shape[1]
    forbidden = np.zeros((count, count), dtype=scores.dtype)  # from, to
    forbidden[:, 2::2] = -np.inf
    for inside in range(2, count, 2):
        forbidden[[inside - 1, inside], inside] = 0
    best = scores[0] + forbidden[0]
    back = np.zeros(scores.shape, dtype=int)
    for i in range(1, len(scores)):
        paths = best[:, None] + forbidden
        back[i] = paths.argmax(axis=0)
        best = paths.max(axis=0) + scores[i]
    tags = [int(best.argmax())]
    for i in range(len(scores) - 1, 0, -1):
        tags.append(int(back[i, tags[-1]]))
    return tags[::-1]


def _build_model(cfg: dict[str, Any], fp16: bool) -> Model[list[Doc], Floats2d]:
    """docs -> windows of word pieces -> scores, (tokens of all docs, tags)."""
    _import_transformers()
    from thinc.api import PyTorchGradScaler, PyTorchWrapper_v3

    return chain(
        Model("windows", _windows_forward, attrs={"tokenizer": None, "cfg": cfg}),
        PyTorchWrapper_v3(
            cast(Any, None),
            convert_inputs=_convert_inputs,
            convert_outputs=_convert_outputs,
            mixed_precision=fp16,
            grad_scaler=PyTorchGradScaler(fp16),
        ),
    )


def _windows_forward(
    model: Model[list[Doc], Windows], docs: list[Doc], is_train: bool
) -> tuple[Windows, Callable[[Any], list[Doc]]]:
    return make_windows(docs, model.attrs["tokenizer"], **model.attrs["cfg"]), lambda _: []


def make_windows(docs: Sequence[Doc], tokenizer: Any, *, casing: bool, max_length: int, **_: Any) -> Windows:
    """Split docs into word pieces.

    docs (Sequence[Doc]): The docs.
    tokenizer (PreTrainedTokenizerFast): The encoder's tokenizer.
    casing (bool): Whether the token types say how a token is capitalised.
    max_length (int): Word pieces per window.
    RETURNS (Windows): The windows.
    """
    batch = tokenizer(
        [doc.text for doc in docs],
        truncation=True,
        max_length=max_length,
        stride=max_length // 4,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=True,
        return_tensors="pt",
    )
    windows = batch.pop("overflow_to_sample_mapping").tolist()
    offsets = batch.pop("offset_mapping").tolist()
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    starts = np.cumsum([0, *(len(doc) for doc in docs)])
    rows = np.zeros(starts[-1], dtype=int)
    columns = np.zeros(starts[-1], dtype=int)
    # Of a token in two windows, the place with more context around it counts.
    context = np.full(starts[-1], -1)
    if casing:
        types = batch["token_type_ids"] = batch["input_ids"].new_zeros(batch["input_ids"].shape)
    for row, (sample, pieces) in enumerate(zip(windows, offsets, strict=True)):
        doc = docs[sample]
        token = 0
        last = -1
        for column, (start, end) in enumerate(pieces):
            if start == end:
                continue
            while token < len(doc) - 1 and doc[token + 1].idx <= start:
                token += 1
            if casing:
                types[row, column] = _case(doc[token].text)
            position = starts[sample] + token
            around = min(column, lengths[row] - 1 - column)
            if token != last and around > context[position]:
                rows[position], columns[position], context[position] = row, column, around
            last = token
    return Windows(dict(batch), rows.tolist(), columns.tolist())


def _case(text: str) -> int:
    """none upper 0, first upper 1, all upper 2, mixed 3"""
    upper = [character.isupper() for character in text if character.isalpha()]
    if not any(upper):
        return 0
    if upper[0] and not any(upper[1:]):
        return 1
    return 2 if all(upper) else 3


def _convert_inputs(
    model: Model[Any, Any], windows: Windows, is_train: bool
) -> tuple[ArgsKwargs, Callable[[Any], list[Any]]]:
    device = cast(Any, model.shims[0]).device
    inputs = {name: tensor.to(device) for name, tensor in windows.inputs.items()}
    return ArgsKwargs(args=(), kwargs=inputs), lambda _: []


def _convert_outputs(
    model: Model[Any, Any], inputs_outputs: tuple[Windows, Any], is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], ArgsKwargs]]:
    windows, outputs = inputs_outputs
    scores = outputs.logits[windows.rows, windows.columns].float()
    has_piece = scores.new_tensor([[column > 0] for column in windows.columns])
    scores = scores * has_piece  # without a piece, all tags are as good

    def backprop(gradient: Floats2d) -> ArgsKwargs:
        return ArgsKwargs(args=((scores,),), kwargs={"grad_tensors": xp2torch(gradient)})

    return cast(Floats2d, torch2xp(scores.detach())), backprop


def _fill(doc: Doc, tags: Sequence[str | None]) -> list[str]:
    """Tag the tokens that have no word piece of their own. One that lies within the piece of the token before
    it (Chinese characters, where pieces are words) goes with that one; white space is part of an entity only
    if the entity goes on after it."""
    filled: list[str] = []
    for i, tag in enumerate(tags):
        if tag is None:
            after = next((known for known in tags[i + 1 :] if known is not None), "O")
            before = filled[-1] if filled else "O"
            goes_on = before != "O" and (after.startswith("I-") or not doc[i].is_space)
            tag = f"I-{before[2:]}" if goes_on else "O"
        filled.append(tag)
    return filled


def _spans(doc: Doc, tags: Sequence[str]) -> Iterator[Span]:
    start = 0
    for i, tag in enumerate([*tags, "O"]):
        if not tag.startswith("I-"):
            if i and tags[start] != "O":
                yield Span(doc, start, i, label=tags[start][2:])
            start = i


def _add_cases(module: Any, encoder: str) -> None:
    """Give an encoder one token type per kind of casing. All begin as its type 0: nothing changes yet."""
    embeddings = getattr(getattr(module.base_model, "embeddings", None), "token_type_embeddings", None)
    if embeddings is None:
        raise ValueError(f"The encoder '{encoder}' has no token type embeddings: set `casing = false`.")
    if embeddings.num_embeddings != _CASES:
        weights = embeddings.weight.data[:1].repeat(_CASES, 1)
        module.base_model.embeddings.token_type_embeddings = type(embeddings).from_pretrained(
            weights, freeze=False
        )
        module.config.type_vocab_size = _CASES


def _import_transformers() -> Any:
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise ImportError(
            "'eat_token_classifier' needs PyTorch and transformers: pip install 'spacy-eat[embedded]'"
        ) from error
    return transformers
