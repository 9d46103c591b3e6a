"""Models: what lies between the input and the logits.

A builder is `builder(input_shape, num_outputs, *, knobs) -> nn.Module`. `input_shape` is the shape of one input without
the batch axis, `num_outputs` is C. The module takes a float batch [B, *input_shape] and returns logits, [B, C]
(`vector`: multiclass, multilabel) or [B, C, H, W] (`map`: segmentation). It flattens by itself and never applies a
sigmoid or softmax, which are the loss's link. It must work with `torch.func.functional_call` under `torch.vmap` in
training mode: no Python branch on a value, no state outside parameters and buffers. What it cannot take it refuses with
a `UserError`.

Weights are drawn by `initial`, on the CPU, from the trial's seed alone.

To add one: write the builder, decorate it with `@outputs("vector")` or `@outputs("map")`, and name it in
`configs/model/<name>.yaml` with its knobs. A builder elsewhere needs the YAML only: undecorated, it is taken on trust,
and `check_output` tells whether its logits have the right shape. The classifiers of `torchvision.models` work by name.
"""

from xentlab.models.contract import (
    Builder,
    Kind,
    check_model,
    check_output,
    has_bag,
    has_convolution,
    has_dropout,
    is_foreign,
    is_torchvision,
    kind,
    outputs,
)
from xentlab.models.dense import segnet_basic, unet
from xentlab.models.sequence import bigram, gru, mlp_lm, transformer
from xentlab.models.start import Start
from xentlab.models.vector import convnet, lenet, linear, mlp
from xentlab.models.vision import efficientnet_lite0, resnet18, torchvision_classifier
from xentlab.models.weights import initial
