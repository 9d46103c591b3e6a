"""Laws of the model builders: shapes, seeds, stacking, refusals."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, stack_module_state

from xentlab import models, schema
from xentlab.errors import UserError
from xentlab.models.dense import unpool
from xentlab.tasks import TASKS, find

FILES = sorted((Path(__file__).parents[1] / "configs" / "model").glob("*.yaml"))
IMAGE = (1, 8, 8)

SHAPES = [
    (models.linear, (20,)),
    (models.mlp, (1, 5, 7)),
    (partial(models.mlp, hidden=()), (20,)),
    (models.lenet, IMAGE),
    (models.lenet, (1, 28, 28)),
    (models.lenet, (3, 4, 4)),
    (models.lenet, (3, 21, 40)),
    (models.lenet, (2, 19, 20)),
    (partial(models.convnet, widths=(4, 8), hidden=6), IMAGE),
    (partial(models.convnet, widths=(4, 8, 8), hidden=0), (3, 9, 15)),
    (partial(models.unet, width=2), IMAGE),
    (partial(models.unet, width=2), (3, 13, 22)),
    (partial(models.unet, width=2, depth=1), (1, 2, 3)),
    (partial(models.segnet_basic, width=2), (3, 16, 16)),
    (partial(models.segnet_basic, width=2), (1, 21, 33)),
    (models.resnet18, (2, 9, 11)),
    (partial(models.resnet18, stem="imagenet"), IMAGE),
]


def name_of(value):
    return getattr(value, "__name__", None) or (value.func.__name__ if isinstance(value, partial) else str(value))


def test_every_builder_has_a_yaml():
    declared = {name for name, builder in vars(models).items() if callable(builder) and hasattr(builder, "outputs")}
    assert declared == {f.stem for f in FILES} - {"torchvision"}
    assert len(declared) == 12


@pytest.mark.parametrize(("builder", "shape"), SHAPES, ids=name_of)
def test_logits_have_the_declared_shape_and_reach_every_parameter(builder, shape):
    module = models.initial(builder, shape, 5, 0)
    logits = module(torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == ((3, 5) if models.kind(builder) == "vector" else (3, 5, *shape[1:]))
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    models.check_output(module, shape, 5, models.kind(builder), "it")


@pytest.mark.parametrize(
    ("builder", "count"),
    [
        (models.linear, 7850),
        (partial(models.mlp, hidden=(100,)), 79510),
        # LeNet-5 with full connections from 6 to 16 maps, and 10 linear scores.
        (models.lenet, 61706),
    ],
    ids=name_of,
)
def test_parameter_counts_of_the_literature(builder, count):
    module = models.initial(builder, (1, 28, 28), 10, 0)
    assert sum(p.numel() for p in module.parameters()) == count


@pytest.mark.parametrize("builder", [models.mlp, models.lenet, models.convnet, models.unet], ids=name_of)
def test_initial_depends_on_the_seed_only_and_leaves_the_global_generator(builder):
    torch.manual_seed(1)
    first = models.initial(builder, IMAGE, 3, 7).state_dict()
    after = torch.rand(4)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(4))
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            second = models.initial(builder, IMAGE, 3, 7).state_dict()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    other = models.initial(builder, IMAGE, 3, 8).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert all(v.device.type == "cpu" for v in second.values())
    assert any(not torch.equal(first[k], other[k]) for k in first)
    assert {v.dtype for v in first.values()} <= {torch.float32, torch.int64}


def test_inits():
    wide = partial(models.mlp, hidden=(300,), init="normal")
    values = torch.cat([p.flatten() for p in models.initial(wide, (100,), 10, 0).parameters()])
    # 33,310 draws: the mean's standard error is 0.0055, the standard deviation's 0.0039.
    assert abs(values.mean().item()) < 0.03
    assert abs(values.std().item() - 1) < 0.02
    biases = [p for p in models.initial(wide, (100,), 10, 0).parameters() if p.ndim == 1]
    assert all(abs(b.std().item() - 1) < 0.6 for b in biases)

    truncated = models.initial(partial(models.lenet, init="truncated_normal"), (1, 28, 28), 10, 0)
    weights = torch.cat([p.flatten() for p in truncated.parameters() if p.ndim > 1])
    assert weights.abs().max() <= 0.2
    # A normal law cut at two standard deviations has 0.8796 of its standard deviation.
    assert abs(weights.std().item() / 0.08796 - 1) < 0.02
    assert all((p == 0).all() for p in truncated.parameters() if p.ndim == 1)

    zero = models.initial(partial(models.linear, init="zero"), (6,), 3, 0)
    assert all((p == 0).all() for p in zero.parameters())


@pytest.mark.parametrize(
    ("builder", "shape"),
    [
        (partial(models.mlp, hidden=(7, 6), activation="tanh"), (2, 3)),
        (models.lenet, IMAGE),
        (partial(models.lenet, pooling="avg", activation="sigmoid"), IMAGE),
        (partial(models.convnet, widths=(4, 6), hidden=5), IMAGE),
        (partial(models.unet, width=2, depth=2), (1, 7, 9)),
        (partial(models.segnet_basic, width=2, kernel=3), (1, 17, 16)),
    ],
    ids=name_of,
)
def test_stacked_equals_single_with_buffers_and_gradients(builder, shape):
    R, B = 3, 5
    modules = [models.initial(builder, shape, 4, seed).double() for seed in range(R)]
    inputs = torch.randn(R, B, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    params, buffers = stack_module_state(modules)
    skeleton = models.initial(builder, shape, 4, 0).double()

    def objective(params, buffers, x):
        buffers = {name: b.clone() for name, b in buffers.items()}
        logits = functional_call(skeleton, (params, buffers), (x,))
        return logits.square().mean(), (logits, buffers)

    lifted = torch.vmap(torch.func.grad(objective, has_aux=True))
    grads, (logits, new_buffers) = lifted(params, buffers, inputs)
    for r, module in enumerate(modules):
        alone = module(inputs[r])
        alone.square().mean().backward()
        torch.testing.assert_close(logits[r], alone, rtol=1e-9, atol=1e-12)
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(grads[name][r], parameter.grad, rtol=1e-9, atol=1e-12)
        for name, buffer in module.named_buffers():
            torch.testing.assert_close(new_buffers[name][r], buffer, rtol=1e-9, atol=1e-12)
    assert bool(buffers) == any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in skeleton.modules())


@pytest.mark.parametrize("size", [(8, 10), (7, 11), (2, 3)])
def test_unpool_equals_torch(size):
    images = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pooled, maxima = F.max_pool2d(images, 2, return_indices=True)
    pooled = pooled.detach().requires_grad_()
    ours = unpool(pooled, maxima, torch.Size(size))
    theirs = F.max_unpool2d(pooled, maxima, 2, output_size=size)
    assert torch.equal(ours, theirs)
    weights = torch.arange(ours.numel(), dtype=torch.float64).view_as(ours)
    assert torch.equal(*(torch.autograd.grad((o * weights).sum(), pooled)[0] for o in (ours, theirs)))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "builder",
    [
        models.linear, models.mlp, models.lenet, models.convnet, models.resnet18, models.unet, models.segnet_basic,
        models.bigram, models.mlp_lm, models.gru, models.transformer,
    ],
)  # fmt: skip
def test_a_model_of_the_wrong_kind_is_refused(builder, task):
    if models.kind(builder) == find(task).output:
        models.check_model(partial(builder), task)
        return
    with pytest.raises(UserError, match=f"task {task} needs a model .* got {builder.__name__}.*choose one of"):
        models.check_model(partial(builder), task)


def mine(input_shape, num_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_outputs))


def test_an_undeclared_builder_is_taken_on_trust_and_checked_by_its_output():
    assert models.kind(mine) is None
    for task in TASKS:
        models.check_model(mine, task)
    module = models.initial(mine, (3, 4), 5, 0)
    models.check_output(module, (3, 4), 5, "vector", "mine")
    assert module.training
    with pytest.raises(UserError, match=r"^mine must return logits of shape \(2, 6\).*got \(2, 5\)\.$"):
        models.check_output(module, (3, 4), 6, "vector", "mine")
    with pytest.raises(UserError, match=r"^mine cannot take inputs of shape"):
        models.check_output(module, (3, 5), 5, "vector", "mine")


@pytest.mark.parametrize(
    ("builder", "shape", "text"),
    [
        (models.lenet, (20,), r"lenet needs images of shape \(channels, H, W\), got inputs of shape \(20,\)."),
        (models.lenet, (1, 3, 8), "lenet needs images of at least 4x4 pixels here, got 3x8."),
        (partial(models.convnet, widths=(2, 2, 2, 2)), IMAGE, "convnet with 4 blocks needs .* 16x16 .* got 8x8."),
        (partial(models.unet, depth=4), IMAGE, "unet of depth 4 needs images of at least 16x16 .* got 8x8."),
        (models.segnet_basic, (1, 16, 15), "segnet_basic needs images of at least 16x16 .* got 16x15."),
        (models.resnet18, (64,), "resnet18 needs images"),
    ],
    ids=name_of,
)
def test_inputs_that_a_net_cannot_take_are_refused(builder, shape, text):
    with pytest.raises(UserError, match=f"^{text}$" if text.endswith(".") else text):
        models.initial(builder, shape, 3, 0)


def test_torchvision_classifiers_by_their_name():
    node = {"_target_": "torchvision.models.shufflenet_v2_x0_5", "_partial_": True}
    builder = schema.build("model", node)
    assert models.kind(builder) == "vector"
    models.check_model(builder, "multilabel")
    for channels in (1, 3):
        module = models.initial(builder, (channels, 28, 28), 7, 3)
        again = models.initial(builder, (channels, 28, 28), 7, 3).state_dict()
        assert all(torch.equal(value, again[name]) for name, value in module.state_dict().items())
        assert module(torch.zeros(2, channels, 28, 28)).shape == (2, 7)
    with pytest.raises(UserError, match="needs images with 1 or 3 channels, got 2"):
        models.initial(builder, (2, 28, 28), 7, 3)


def test_torchvision_models_that_cannot_work_are_refused():
    import torchvision

    small = partial(models.initial, input_shape=IMAGE, num_outputs=3, generator_seed=0)
    with pytest.raises(UserError, match=r"^torchvision\.models\.squeezenet1_1 cannot take inputs"):
        small(torchvision.models.squeezenet1_1)
    with pytest.raises(UserError, match="must name an image classifier"):
        small(torchvision.models.segmentation.fcn_resnet50)
    with pytest.raises(UserError, match="weights must be null"):
        small(partial(torchvision.models.resnet18, weights="DEFAULT"))


def test_predicates():
    assert not models.has_convolution(models.mlp((4,), 2))
    assert models.has_convolution(models.lenet(IMAGE, 2))
    assert not any(models.has_dropout(b(IMAGE, 2)) for b in (models.mlp, models.lenet, models.convnet, models.unet))
    assert models.has_dropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)))
    assert models.has_dropout(nn.Dropout2d(0.1))
    assert models.has_dropout(nn.TransformerEncoderLayer(4, 1, 4, dropout=0.1))
    assert not models.has_dropout(nn.TransformerEncoderLayer(4, 1, 4, dropout=0.0))
    off = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0))
    assert not models.has_dropout(off)
    params, _ = stack_module_state([off, off])
    out = torch.vmap(lambda p: functional_call(off, p, (torch.ones(1, 2),)), randomness="error")(params)
    torch.testing.assert_close(out[0], off(torch.ones(1, 2)))

    from torchvision.ops import StochasticDepth

    assert models.has_dropout(StochasticDepth(0.2, "row"))


def test_importing_models_does_not_import_torchvision():
    code = "import sys, xentlab.models; sys.exit('torchvision' in sys.modules)"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
