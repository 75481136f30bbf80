"""What torch's own transformer layers take for granted about the norms in them."""

from torch import nn

from ssl_norm.norms.swap.channels_last import ChannelsLast

LAYERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
NO_FUSED_KERNEL = 0  # of `activation_relu_or_gelu`, which nothing but the choice of a kernel reads


def check_sample_axis(parent: nn.Module, norm: nn.Module) -> None:
    """Raise ValueError where a norm would take positions for samples.

    Args:
        parent: the module that holds the norm.
        norm: the one to put there.
    """
    tells_samples_apart = isinstance(norm, ChannelsLast)
    if tells_samples_apart and isinstance(parent, LAYERS) and not parent.self_attn.batch_first:
        raise ValueError(
            f"this {type(parent).__name__} keeps samples in the second axis, where norms here take "
            "positions; build it with batch_first=True"
        )


def run_norms(parent: nn.Module) -> None:
    """Make a transformer layer call its norms in evaluation, too.

    Its fused kernel reads their eps, weight and bias and computes layer norm, whatever they are.
    """
    if isinstance(parent, nn.TransformerEncoderLayer):
        parent.activation_relu_or_gelu = NO_FUSED_KERNEL
