"""A model's first weights, drawn from the trial's seed alone."""

import torch
from torch import nn

from xentlab.models.contract import Builder, is_torchvision
from xentlab.models.vision import torchvision_classifier


def initial(builder: Builder, input_shape: tuple[int, ...], num_outputs: int, generator_seed: int) -> nn.Module:
    """Build the module with float32 weights on the CPU that depend on the seed only, whatever ran before.

    Args:
        builder: a builder with its knobs bound, or any classifier of `torchvision.models`.
        input_shape: the shape of one input, without the batch axis.
        num_outputs: C, the number of classes.
        generator_seed: the seed, >= 0; equal seeds give equal weights on every device.

    Returns:
        A module in training mode from [B, *input_shape] to logits [B, C] or [B, C, H, W].

    Raises:
        UserError: the model cannot take such inputs.
    """
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        # Only the CPU's generator is touched: torch.manual_seed would seed the accelerators' too, and not give it back.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(generator_seed)
            if is_torchvision(builder):
                return torchvision_classifier(builder, input_shape, num_outputs).train()
            return builder(input_shape, num_outputs).train()
    finally:
        torch.set_default_dtype(dtype)
