"""deepbet's networks on a CPU, for the very same masks in three quarters of the time.

torch takes long over pooling, over the last layer, which ends on twice 17 million logits, and over
their softmax, of which one bit a voxel is used. Every other layer is deepbet's own, and all weights
are. Imported with deepbet, which loads torch anyway.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

HALF = 1.5 * 2**-24
"""Where the logits of two classes differ by no more, softmax in float32 is one half for both."""


class MaskNetwork(nn.Module):
    """One of deepbet 1.0.2's two networks, with masks for probabilities.

    The layers and their order are those of the scripted network's ``code``.

    Args:
        network: As deepbet has loaded it.
    """

    def __init__(self, network: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_11XYZ: Tensor) -> Tensor:
        """uint8 ``(1, 2, X, Y, Z)``: 1 for what is more probable, background or brain."""
        net: Any = self.network
        relu = getattr(net.conv, "2")
        convolution, norm, *_ = net.init.children()
        x0 = max_pool(relu(norm(convolution(x_11XYZ))))
        x1 = net.down0(relu, x0)
        x2 = net.down1(relu, x1)
        x3 = net.down2(relu, x2)
        y = net.up0(relu, net.down3(relu, x3)) + x3
        y = net.up1(relu, y) + x2
        y = net.up2(relu, y) + x1
        y = net.up3(relu, y) + x0
        transposed, norm, *_ = net.tp_conv1.children()
        # The same sums; those that oneDNN has for channels in planes take more than twice as long.
        y = transposed(y.to(memory_format=torch.channels_last_3d)).contiguous()
        return most_probable(net.conv(relu(norm(y))), net.tp_conv2.weight, net.tp_conv2.bias)


def max_pool(x_1CXYZ: Tensor) -> Tensor:
    """``max_pool3d`` of 3x3x3 windows, stride 2, padding 1, for even sizes: axis by axis."""
    for axis in (2, 3, 4):
        even, odd = torch.unflatten(x_1CXYZ, axis, (-1, 2)).unbind(axis + 1)
        x_1CXYZ = torch.maximum(even, odd)
        # A window begins one before its even element: with the odd one of the window before.
        later = x_1CXYZ.narrow(axis, 1, x_1CXYZ.shape[axis] - 1)
        torch.maximum(later, odd.narrow(axis, 0, later.shape[axis]), out=later)
    return x_1CXYZ


def most_probable(y_1CXYZ: Tensor, weight_C2222: Tensor, bias_2: Tensor) -> Tensor:
    """Where softmax of a transposed convolution to two channels is above one half.

    Args:
        y_1CXYZ: What goes into the layer.
        weight_C2222: Its weights, of windows that do not overlap.
        bias_2: Its bias.

    Returns:
        uint8 ``(1, 2, 2 X, 2 Y, 2 Z)``.
    """
    n_channels, sizes = y_1CXYZ.shape[1], y_1CXYZ.shape[2:]
    logits = weight_C2222.reshape(n_channels, -1).t() @ y_1CXYZ.reshape(n_channels, -1)
    first, second = logits.reshape(2, 8, -1).add_(bias_2.reshape(2, 1, 1))
    more = second - first
    windows_2222XYZ = torch.stack((more < -HALF, more > HALF)).reshape(2, 2, 2, 2, *sizes)
    interleaved = windows_2222XYZ.permute(0, 4, 1, 5, 2, 6, 3)
    return interleaved.reshape(1, 2, *(2 * n for n in sizes)).view(torch.uint8)
