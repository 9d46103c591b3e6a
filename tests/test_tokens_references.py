"""Text against other people's code and the definitions: metrics, n-grams, code lengths, models; float64 at 1e-9."""

from __future__ import annotations

import collections
import functools
import math
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, log_loss
from torch import nn
from torch.func import functional_call, stack_module_state
from torchmetrics.functional.classification import multiclass_calibration_error

from xentlab import codes, losses, metrics, models
from xentlab.losses.compound import bind
from xentlab.losses.contract import catalogue, suits
from xentlab.losses.laws import assert_lawful
from xentlab.tasks import find

TOKENS = find("tokens")
MULTICLASS = {name for name, function in catalogue().items() if "multiclass" in function.spec.tasks}


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- metrics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ignore_index", [None, 4, -100])
def test_metrics_are_sklearns_and_torchmetrics(ignore_index: int | None) -> None:
    R, B, C, T = 3, 4, 5, 7
    logits = 2 * torch.randn(R, B, C, T, generator=draws(), dtype=torch.float64)
    target = torch.randint(4, (B, T), generator=draws(1))
    if ignore_index is not None:
        target[torch.rand(B, T, generator=draws(2)) < 0.3] = ignore_index
    lengths = torch.tensor([1.0, 1.0, 0.0, 3.0, 1.0], dtype=torch.float64)
    probs = logits.softmax(2)
    halves = [metrics.token_counts(p, t, lengths, ignore_index=ignore_index)
              for p, t in zip(probs.split(2, 1), target.split(2), strict=True)]  # fmt: skip
    found = metrics.token_metrics(metrics.add(halves))
    counted = (target != (-1 if ignore_index is None else ignore_index)).flatten()
    truth = target.flatten()[counted]
    for row in range(R):
        p = probs[row].movedim(1, -1).flatten(0, 1)[counted]
        nats = log_loss(truth, p, labels=range(C), normalize=False)
        assert float(found["bits_per_char"][row]) == pytest.approx(
            nats / math.log(2) / float(lengths[truth].sum()), rel=1e-9
        )
        assert float(found["perplexity"][row]) == pytest.approx(math.exp(nats / len(truth)), rel=1e-9)
        assert float(found["token_error"][row]) == pytest.approx(1 - accuracy_score(truth, p.argmax(1)), rel=1e-9)
        assert float(found["ece"][row]) == pytest.approx(
            float(multiclass_calibration_error(p, truth, C, n_bins=15)), rel=1e-6
        )  # their sums are float32


def test_the_trivial_predictor_answers_the_frequencies() -> None:
    class Whole:
        name, class_names, num_classes, ignore_index = "t", ("a", "bc", "?"), 3, 2
        targets = torch.tensor([[0, 0, 1, 2], [1, 0, 0, 0]])

    train, judged = Whole.targets[:1], Whole.targets[1:]
    found = TOKENS.trivial(train, judged, Whole())
    nats = -(3 * math.log(2 / 3) + math.log(1 / 3))
    assert found["bits_per_char"] == pytest.approx(nats / math.log(2) / 5, rel=1e-9)
    assert found["perplexity"] == pytest.approx(math.exp(nats / 4), rel=1e-9)
    assert found["token_error"] == pytest.approx(0.25, rel=1e-9)


# --- losses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (i % 3 > 0)) for i, n in enumerate(sorted(MULTICLASS))]
)
def test_every_multiclass_loss_keeps_the_laws_per_token(name: str) -> None:
    assert suits(catalogue()[name].spec, TOKENS)
    assert_lawful(catalogue()[name], "tokens")


def test_the_mean_over_tokens_is_pytorchs() -> None:
    logits = torch.randn(3, 5, 7, generator=draws(), dtype=torch.float64)
    target = torch.randint(5, (3, 7), generator=draws(1))
    for ignored in (None, 2):
        term = bind(functools.partial(losses.ce), "tokens").data_term(ignored)
        facts = {"token_lengths": torch.ones(5, dtype=torch.float64)}
        wanted = F.cross_entropy(logits, target, ignore_index=-100 if ignored is None else ignored)
        torch.testing.assert_close(term(logits, target, facts, {}), wanted, rtol=1e-9, atol=0)


# --- n-grams and code lengths --------------------------------------------------------------------------------------


def probability(learned: list[int], context: tuple[int, ...], symbol: int, size: int) -> float:
    """Witten-Bell by its recursion, over plain dictionaries."""
    after = collections.Counter(
        learned[i] for i in range(len(context), len(learned)) if tuple(learned[i - len(context) : i]) == context
    )
    shorter = probability(learned, context[1:], symbol, size) if context else 1 / size
    return (after[symbol] + len(after) * shorter) / (after.total() + len(after)) if after else shorter


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_ngrams_are_witten_bells_recursion_and_sum_to_one(order: int) -> None:
    size = 4
    learned = np.random.default_rng(0).integers(0, 3, 60)  # symbol 3 is never seen
    judged = np.append(np.random.default_rng(1).integers(0, size, 30), size)
    whole = [*learned.tolist(), *judged.tolist()]
    found = codes.ngram_bits(learned, judged, order, size)
    for place, symbol in enumerate(judged[:-1].tolist()):
        context = tuple(whole[60 + place - order : 60 + place])
        wanted = [probability(learned.tolist(), context, c, size) for c in range(size)]
        assert sum(wanted) == pytest.approx(1.0, rel=1e-9)
        assert found[place] == pytest.approx(-math.log2(wanted[symbol]), rel=1e-9)
    assert math.isnan(found[-1])


def test_entropies_are_shannons() -> None:
    text = "abracadabra, said the cat"
    symbols = np.unique(list(text), return_inverse=True)[1]
    for order, found in enumerate(codes.entropies(symbols)):
        blocks = [collections.Counter(text[i : i + k] for i in range(len(text) - order)) for k in (order, order + 1)]
        short, long = (sum(-n / c.total() * math.log2(n / c.total()) for n in c.values()) for c in blocks)
        assert found == pytest.approx(long - short, rel=1e-9)
    assert codes.entropies(np.zeros(9, dtype=np.int64)) == [0.0] * 4


def test_code_lengths_are_the_files_and_what_a_text_adds() -> None:
    data = b"to be or not to be, that is the question. " * 20
    found = codes.compressed_bits(data)
    assert set(found) == {"gzip", "bz2", "xz"}
    assert found["gzip"] == 8 * (len(zlib.compress(data, 9)) + 12)  # another header and a longer check sum
    assert all(0 < bits < 0.2 * 8 * len(data) for bits in found.values())
    again = codes.compressed_bits(data, data)
    assert all(again[name] < found[name] for name in found)


# --- models --------------------------------------------------------------------------------------------------------

BUILDERS = [
    models.bigram,
    functools.partial(models.mlp_lm, last=3, embedding=4, hidden=6),
    functools.partial(models.gru, embedding=4, hidden=6),
    functools.partial(models.transformer, layers=2, heads=2, width=8),
]
named = pytest.mark.parametrize("builder", BUILDERS, ids=lambda b: getattr(b, "func", b).__name__)
C, T = 7, 9


@named
def test_logits_have_their_shape_and_hang_on_no_later_token(builder: models.Builder) -> None:
    module = models.initial(builder, (T,), C, 0).double()
    module.requires_grad_(True)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=draws(), dtype=torch.float64))
    tokens = torch.randint(C, (4, T), generator=draws(1))
    logits = module(tokens)
    assert logits.shape == (4, C, T)
    models.check_output(module, (T,), C, "sequence", "it", torch.zeros(2, T, dtype=torch.int64))
    for place in range(T - 1):
        other = tokens.clone()
        other[:, place + 1 :] = (other[:, place + 1 :] + 1) % C
        changed = module(other)
        torch.testing.assert_close(changed[..., : place + 1], logits[..., : place + 1], rtol=1e-9, atol=1e-12)
        assert not torch.allclose(changed[..., place + 1], logits[..., place + 1])
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in module.parameters())


@named
def test_a_stack_equals_its_models_alone(builder: models.Builder) -> None:
    modules = [models.initial(builder, (T,), C, seed).double() for seed in range(3)]
    tokens = torch.randint(C, (3, 4, T), generator=draws())
    params, _ = stack_module_state(modules)

    def objective(params, x):
        return functional_call(modules[0], params, (x,)).square().mean()

    grads = torch.vmap(torch.func.grad(objective))(params, tokens)
    for row, module in enumerate(modules):
        alone = torch.autograd.grad(module(tokens[row]).square().mean(), list(module.parameters()))
        for (name, _), wanted in zip(module.named_parameters(), alone, strict=True):
            torch.testing.assert_close(grads[name][row], wanted, rtol=1e-9, atol=1e-12)


def test_gru_is_pytorchs() -> None:
    module = models.initial(BUILDERS[2], (T,), C, 0).double()
    theirs = nn.GRU(4, 6, batch_first=True).double()
    with torch.no_grad():
        for name, weight in module.cell.named_parameters():
            getattr(theirs, f"{name}_l0").copy_(weight)
    tokens = torch.randint(C, (4, T), generator=draws())
    wanted = module.scores(theirs(module.embedding(tokens))[0]).mT
    torch.testing.assert_close(module(tokens), wanted, rtol=1e-9, atol=1e-12)


def test_transformer_is_pytorchs_encoder_layers_under_a_causal_mask() -> None:
    module = models.initial(BUILDERS[3], (T,), C, 0).double()
    tokens = torch.randint(C, (4, T), generator=draws())
    stream = module.tokens(tokens) + module.places
    for block in module.blocks:
        layer = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True).double()
        pairs = [
            (layer.self_attn.in_proj_weight, block.inward.weight), (layer.self_attn.in_proj_bias, block.inward.bias),
            (layer.self_attn.out_proj.weight, block.back.weight), (layer.self_attn.out_proj.bias, block.back.bias),
            (layer.linear1.weight, block.up.weight), (layer.linear1.bias, block.up.bias),
            (layer.linear2.weight, block.down.weight), (layer.linear2.bias, block.down.bias),
        ]  # fmt: skip
        with torch.no_grad():
            for theirs, ours in pairs:
                theirs.copy_(ours)
        stream = layer(stream, nn.Transformer.generate_square_subsequent_mask(T, dtype=torch.float64))
    wanted = module.scores(module.norm(stream)).mT
    torch.testing.assert_close(module(tokens), wanted, rtol=1e-9, atol=1e-12)


def test_first_weights_of_a_transformer_are_gpt2s() -> None:
    module = models.initial(functools.partial(models.transformer, layers=8, heads=2, width=64), (32,), 50, 0)
    spread = {name: float(p.detach().std()) for name, p in module.named_parameters()}
    assert spread["tokens.weight"] == pytest.approx(0.02, rel=0.1)
    assert spread["blocks.3.up.weight"] == pytest.approx(0.02, rel=0.1)
    assert spread["blocks.3.down.weight"] == pytest.approx(0.02 / 4, rel=0.1)
    assert spread["blocks.3.back.weight"] == pytest.approx(0.02 / 4, rel=0.1)
    assert all(not p.any() for name, p in module.named_parameters() if name.endswith("bias"))


def test_dropout_is_a_knob_that_leaves_evaluation_alone() -> None:
    tokens = torch.randint(C, (4, T), generator=draws())
    for builder in BUILDERS[2:]:
        dropped, plain = (models.initial(functools.partial(builder, dropout=rate), (T,), C, 0) for rate in (0.5, 0.0))
        assert models.has_dropout(dropped)
        assert not models.has_dropout(plain)
        assert not torch.equal(dropped(tokens), plain(tokens))
        assert torch.equal(dropped.eval()(tokens), plain.eval()(tokens))
