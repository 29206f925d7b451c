import pytest

from spacy_eat.llm.rough_head import RoughHead, make_rough_head
from spacy_eat.llm.torch_engine import Decoder

from .test_torch_engine import END, VOCABULARY, tiny_model

torch = pytest.importorskip("torch", reason="needs the extra 'embedded'")

WORDS, SIZE = 3000, 640


@pytest.fixture(params=[False, True], ids=["without bias", "with bias"])
def head(request):
    torch.manual_seed(0)
    return torch.nn.Linear(SIZE, WORDS, bias=request.param).to(torch.bfloat16)


@pytest.fixture
def rough(head):
    made = make_rough_head(head)
    if made is None:
        pytest.skip("this processor has no VNNI")
    return made


def hidden_states(count):
    """A few numbers are far larger than the others, as in real ones."""
    return torch.randn(count, SIZE, generator=torch.Generator().manual_seed(1)) * torch.logspace(0, 1, SIZE)


def test_it_tells_how_far_it_may_be_wrong(head, rough):
    hidden = hidden_states(200).to(torch.bfloat16)
    logits, margin = rough(hidden)
    with torch.no_grad():
        exact = hidden.float() @ head.weight.float().T
        exact = exact if head.bias is None else exact + head.bias.float()
    wrong = (logits - exact).abs().amax(dim=-1)
    assert logits.dtype == torch.float32 and logits.shape == (200, WORDS) and margin.shape == (200,)
    assert bool((wrong > 0).all())  # it does round
    assert bool((wrong < margin).all())
    likeliest = logits.gather(1, exact.argmax(dim=-1, keepdim=True))[:, 0]
    assert bool((likeliest > logits.amax(dim=-1) - margin).all())
    # ... and no more than that.
    assert bool((margin < 0.8 * logits.std(dim=-1)).all())


def test_a_row_is_the_same_beside_any_others(rough):
    hidden = hidden_states(33)
    together, _ = rough(hidden)
    for count in (1, 2, 3, 16, 32):
        assert torch.equal(rough(hidden[:count])[0], together[:count])
    assert torch.equal(rough(hidden.flip(0))[0], together.flip(0))


def test_rows_of_nothing(rough):
    logits, margin = rough(torch.zeros(2, SIZE))
    assert torch.isfinite(logits).all() and torch.isfinite(margin).all()


def test_not_on_a_processor_that_cuts_sums(head, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    assert make_rough_head(head) is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_likeliest_word_is_that_of_the_whole_head(dtype, monkeypatch):
    model = tiny_model().to(getattr(torch, dtype))
    rows = torch.randn(200, 32).to(model.dtype)
    used = []
    call = RoughHead.__call__
    monkeypatch.setattr(RoughHead, "__call__", lambda self, hidden: used.append(1) or call(self, hidden))
    ours = Decoder(model).likeliest(rows, [[END]] * 200)
    if not used:
        pytest.skip("this processor has no VNNI")
    monkeypatch.setattr("spacy_eat.llm.torch_engine.make_rough_head", lambda head: None)
    assert ours == Decoder(model).likeliest(rows, [[END]] * 200)
    assert END not in ours and len(set(ours)) > VOCABULARY / 2
