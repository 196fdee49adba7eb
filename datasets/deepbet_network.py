"""deepbet's networks on a CPU, for the very same masks in three quarters of the time.

torch takes long over pooling, over the last layer, which ends on twice 17 million logits, and over
their softmax, of which one bit a voxel is used. Every other layer is deepbet's own, and all weights
are. Whether the sums come out the same is up to the processor's libraries: they do with AVX2 and
AVX-512, and :meth:`MaskNetwork.has_the_same_sums` finds out. Imported with deepbet, which loads
torch anyway.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

HALF = 1.5 * 2**-24
"""Where two logits differ by no more, neither softmax is above one half in float32."""

_TRIED = 64
"""Voxels of each axis of what :meth:`MaskNetwork.has_the_same_sums` tries: up to 48, libraries that
sum in another order here were seen to agree."""


class MaskNetwork(nn.Module):
    """One of deepbet 1.0.2's two networks, with masks for probabilities.

    The layers and their order are those of the scripted network's ``code``.

    Args:
        network: As deepbet has loaded it.
    """

    def __init__(self, network: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, x_11XYZ: Tensor) -> Tensor:
        """uint8 ``(1, 2, X, Y, Z)``: 1 for what is more probable, background or brain."""
        net = self.network
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
        y = net.conv(relu(norm(_by_voxel(transposed, y))))
        return most_probable(window_logits(y, net.tp_conv2.weight, net.tp_conv2.bias))

    @torch.no_grad()
    def has_the_same_sums(self) -> bool:
        """Whether both layers that are computed in another way give the very same bits here."""
        transposed, last = next(self.network.tp_conv1.children()), self.network.tp_conv2
        generator = torch.Generator().manual_seed(0)

        def some(n_channels: int) -> Tensor:
            return torch.randn((1, n_channels, *[_TRIED] * 3), generator=generator)

        x, y = some(transposed.weight.shape[0]), some(last.weight.shape[0])
        logits = interleaved(window_logits(y, last.weight, last.bias))
        return torch.equal(_by_voxel(transposed, x), transposed(x)) and torch.equal(logits, last(y))


def _by_voxel(layer: Any, x_1CXYZ: Tensor) -> Tensor:
    """A layer by oneDNN's way for channels that lie beside each other: less than half the time."""
    y: Tensor = layer(x_1CXYZ.to(memory_format=torch.channels_last_3d))
    return y.contiguous()


def max_pool(x_1CXYZ: Tensor) -> Tensor:
    """``max_pool3d`` of 3x3x3 windows, stride 2, padding 1, for even sizes: axis by axis."""
    for axis in (2, 3, 4):
        even, odd = torch.unflatten(x_1CXYZ, axis, (-1, 2)).unbind(axis + 1)
        x_1CXYZ = torch.maximum(even, odd)
        # A window begins one before its even element: with the odd one of the window before.
        later = x_1CXYZ.narrow(axis, 1, x_1CXYZ.shape[axis] - 1)
        torch.maximum(later, odd.narrow(axis, 0, later.shape[axis]), out=later)
    return x_1CXYZ


def window_logits(y_1CXYZ: Tensor, weight_C2222: Tensor, bias_2: Tensor) -> Tensor:
    """A transposed convolution to two channels whose windows of 2x2x2 do not overlap.

    Args:
        y_1CXYZ: What goes into the layer.
        weight_C2222: Its weights.
        bias_2: Its bias.

    Returns:
        ``(2, 2, 2, 2, X, Y, Z)`` logits: by class and place in the window.
    """
    n_channels, sizes = y_1CXYZ.shape[1], y_1CXYZ.shape[2:]
    logits = weight_C2222.reshape(n_channels, -1).t() @ y_1CXYZ.reshape(n_channels, -1)
    return logits.reshape(2, 2, 2, 2, *sizes).add_(bias_2.reshape(2, *[1] * 6))


def interleaved(windows_2222XYZ: Tensor) -> Tensor:
    """``(1, 2, 2 X, 2 Y, 2 Z)`` of values by place in their window."""
    sizes = windows_2222XYZ.shape[4:]
    order = windows_2222XYZ.permute(0, 4, 1, 5, 2, 6, 3)
    return order.reshape(1, 2, *(2 * n for n in sizes))


def most_probable(logits_2222XYZ: Tensor) -> Tensor:
    """uint8 ``(1, 2, 2 X, 2 Y, 2 Z)``: 1 where softmax of window logits is above one half."""
    first, second = logits_2222XYZ
    more = second - first
    return interleaved(torch.stack((more < -HALF, more > HALF))).view(torch.uint8)
