"""The paper's convolutional encoder and decoder, and what every network provides.

Shape legend: B of a batch, H = W = 128 pixels, Z = N_z numbers of the encoder's code, D latent
numbers the decoder starts from, O = 1 or 2 output channels.

The trunk may compute in bfloat16; the layer that ends on the code and the one that ends on the
image always compute in float32, so that neither is rounded to bfloat16's eight bits. Parameters and
batch statistics are float32 throughout.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d
from torch.nn.utils import fuse_conv_bn_weights

from trainables.arithmetic import Precision

DEPTH = 5
"""Halvings from 128x128 to 4x4."""

_MANY = 16  # output channels of which the processor's library is fast


class Network(nn.Module, ABC):
    """Base of what a detector trains; shapes alone until :meth:`materialise` gives it values.

    A network builds its layers on torch's device ``meta``: torch's own initialisation would draw
    from the global generator, and a plan of hundreds of networks asks for no more than their sizes.
    """

    def materialise(self, seed: int, device: str) -> None:
        """Draw the initial weights and lay them out the way convolutions read them.

        Args:
            seed: Seed of the weights; the global random generator is not touched.
            device: Where the network will live; the weights do not depend on it.
        """
        # As to_empty does, which loads half a second of sympy to take tensors without values.
        self._apply(lambda like: torch.empty(like.shape, dtype=like.dtype))  # type: ignore[no-untyped-call]
        _initialise(self, seed)
        self.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @abstractmethod
    def flops(self) -> float:
        """Floating-point operations of one forward pass, per image."""


class Normalised(nn.Sequential):
    """A convolution, batch norm and ReLU.

    Scoring multiplies what batch norm has learned into the convolution's weights, which leaves a
    pass over its output out.
    """

    def __init__(self, convolution: nn.Conv2d | nn.ConvTranspose2d) -> None:
        norm = nn.BatchNorm2d(convolution.out_channels)
        super().__init__(convolution, norm, nn.ReLU(inplace=True))

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', h', w')."""
        if not _computes_scores(self, input):
            output: Tensor = super().forward(input)  # type: ignore[no-untyped-call]
            return output
        convolution, norm, _ = cast("_Layers", tuple(self))
        is_transposed = isinstance(convolution, nn.ConvTranspose2d)
        weight, bias = fuse_conv_bn_weights(
            convolution.weight,
            None,
            cast("Tensor", norm.running_mean),
            cast("Tensor", norm.running_var),
            norm.eps,
            norm.weight,
            norm.bias,
            transpose=is_transposed,
        )
        if is_transposed and convolution.stride == (2, 2) and convolution.out_channels < _MANY:
            return doubled(input, weight, bias, channels_last=True).relu_()
        apply = conv_transpose2d if is_transposed else conv2d
        padding = cast("tuple[int, ...]", convolution.padding)
        return apply(input, weight, bias, convolution.stride, padding).relu_()


_Layers = tuple[nn.Conv2d | nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU]


class Encoder(nn.Module):
    """Five halving convolutions, then one that ends on a 2x2x(N_z/4) map.

    The n-th of the five has N_c * 2^(n-1) channels, batch norm and ReLU.

    Args:
        N_c: Channels of the first convolution.
        N_z: Length of the code, a multiple of 4.
        precision: Arithmetic of the trunk.
    """

    def __init__(self, N_c: int, N_z: int, precision: Precision) -> None:
        super().__init__()
        self.precision = precision
        widths = [1, *(N_c * 2**n for n in range(DEPTH))]
        self.trunk = nn.Sequential(
            *(
                # batch norm subtracts whatever a bias would add
                Normalised(nn.Conv2d(i, o, 4, stride=2, padding=1, bias=False))
                for i, o in pairwise(widths)
            )
        )
        self.last = nn.Conv2d(widths[-1], N_z // 4, 3)

    def forward(self, x_B1HW: Tensor) -> Tensor:
        """Map images to codes (B, Z) in float32."""
        with autocast(x_B1HW, self.precision):
            hidden = self.trunk(x_B1HW)
        code: Tensor = self.last(hidden.float())
        return code.flatten(1)

    def flops(self) -> float:
        """Floating-point operations of one forward pass, per image."""
        return _flops(self, nn.Conv2d, [64, 32, 16, 8, 4, 2])


class Decoder(nn.Module):
    """The encoder's mirror: transposed convolutions from a 2x2 map to 128x128.

    The last one has neither batch norm nor ReLU.

    Args:
        N_c: Channels before the last layer.
        n_latent: Length D of the latent vector, a multiple of 4.
        n_out: Channels O of the output.
        precision: Arithmetic of the trunk.
    """

    def __init__(self, N_c: int, n_latent: int, n_out: int, precision: Precision) -> None:
        super().__init__()
        self.precision = precision
        widths = [N_c * 2**n for n in reversed(range(DEPTH))]
        self.trunk = nn.Sequential(
            Normalised(nn.ConvTranspose2d(n_latent // 4, widths[0], 3, bias=False)),
            *(
                Normalised(nn.ConvTranspose2d(i, o, 4, stride=2, padding=1, bias=False))
                for i, o in pairwise(widths)
            ),
        )
        self.last = ImageLayer(N_c, n_out)

    def forward(self, z_BD: Tensor) -> Tensor:
        """Map latent vectors to (B, O, H, W) in float32."""
        z = z_BD.view(len(z_BD), z_BD.shape[1] // 4, 2, 2).contiguous(
            memory_format=torch.channels_last
        )
        with autocast(z, self.precision):
            hidden = self.trunk(z)
        output: Tensor = self.last(hidden.float())
        return output

    def flops(self) -> float:
        """Floating-point operations of one forward pass, per image."""
        return _flops(self, nn.ConvTranspose2d, [2, 4, 8, 16, 32, 64])


class ImageLayer(nn.ConvTranspose2d):
    """The transposed convolution (kernel 4, stride 2, padding 1) that ends on the image.

    Scoring computes it in another way, see :func:`doubled`.

    Args:
        n_in: Channels of the map.
        n_out: Channels O of the image.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, 4, stride=2, padding=1)

    def forward(self, x_BChw: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, C, h, w) to (B, O, 2 h, 2 w)."""
        if not _computes_scores(self, x_BChw):
            return super().forward(x_BChw, output_size)
        return doubled(x_BChw, self.weight, self.bias, channels_last=False)


def doubled(
    x_BChw: Tensor, weight_CO44: Tensor, bias_O: Tensor | None, *, channels_last: bool
) -> Tensor:
    """The transposed convolution with a kernel of 4x4, stride 2 and padding 1, of some images.

    Where there are few output channels, the processor's library is slow at it. Here a convolution
    gives for each 2x2 window of pixels the four pixels around its middle: the same sums in another
    order, in a third of the time for two channels. Its backward pass costs more than torch's own.

    Args:
        x_BChw: Images, at least one.
        weight_CO44: The kernel.
        bias_O: By output channel.
        channels_last: Whether a pixel's channels lie beside each other, or a channel's pixels.

    Returns:
        (B, O, 2 h, 2 w), a view.
    """
    n_B, n_C, n_h, n_w = x_BChw.shape
    n_O = weight_CO44.shape[1]
    # Along an axis, the window that ends at u holds places u - 1 + a, and gives pixels 2 u - 1 + r:
    # place i reaches pixel j by the kernel's value j + 1 - 2 i, which is 2 + r - 2 a.
    kernel_COarbr = weight_CO44.flip(2, 3).view(n_C, n_O, 2, 2, 2, 2).flip(3, 5)
    order = (3, 5, 1, 0, 2, 4) if channels_last else (1, 3, 5, 0, 2, 4)
    kernel = (
        kernel_COarbr.permute(order).flatten(0, 2).contiguous(memory_format=torch.channels_last)
    )
    bias = None
    if bias_O is not None:
        bias = bias_O.repeat(4) if channels_last else bias_O.repeat_interleave(4)
    windows = conv2d(x_BChw, kernel, bias, padding=1).permute(0, 2, 3, 1).contiguous()
    # What stays side by side is moved in numbers of 64 bits.
    pairs = windows.view(torch.float64)
    shape = n_B, 2 * n_h + 2, 2 * n_w + 2
    if channels_last:
        pairs = pairs.view(n_B, n_h + 1, n_w + 1, 2, n_O).transpose(2, 3).contiguous()
        return pairs.view(torch.float32).view(*shape, n_O)[:, 1:-1, 1:-1].permute(0, 3, 1, 2)
    pairs = pairs.view(n_B, n_h + 1, n_w + 1, n_O, 2).permute(0, 3, 1, 4, 2).contiguous()
    return pairs.view(torch.float32).view(n_B, n_O, *shape[1:])[:, :, 1:-1, 1:-1]


class Autoencoder(Network):
    """An encoder and a decoder.

    Args:
        N_c: Channels next to the image.
        N_z: Length Z of the code.
        n_latent: Length D of what the decoder starts from.
        n_out: Channels O of the output.
        precision: Arithmetic of the trunk.
    """

    def __init__(
        self, N_c: int, N_z: int, n_latent: int, n_out: int, *, precision: Precision
    ) -> None:
        super().__init__()
        with torch.device("meta"):
            self.encoder = Encoder(N_c, N_z, precision)
            self.decoder = Decoder(N_c, n_latent, n_out, precision)

    def flops(self) -> float:
        """Floating-point operations of one forward pass, per image."""
        return self.encoder.flops() + self.decoder.flops()


def _computes_scores(network: nn.Module, x: Tensor) -> bool:
    """Whether scores of images are computed in float32 on a CPU: sums in another order will do."""
    is_cpu = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return is_cpu and not (network.training or torch.is_grad_enabled()) and len(x) > 0


def autocast(like: Tensor, precision: Precision) -> torch.autocast:
    """The arithmetic of a trunk that maps such a tensor."""
    return torch.autocast(like.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def _convolutions(module: nn.Module) -> Iterator[nn.Conv2d | nn.ConvTranspose2d]:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            yield layer


def _initialise(module: nn.Module, seed: int) -> None:
    """Torch's own default, uniform within 1/sqrt(fan in), from a generator of our own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
                layer.reset_parameters()
        for layer in _convolutions(module):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for parameter in layer.parameters():
                parameter.uniform_(-bound, bound, generator=generator)


def _flops(
    module: nn.Module, kind: type[nn.Conv2d | nn.ConvTranspose2d], sizes: list[int]
) -> float:
    """A kernel is applied once per position of its smaller map, of the given side lengths."""
    layers = [layer for layer in _convolutions(module) if isinstance(layer, kind)]
    return float(
        sum(2 * layer.weight.numel() * s * s for layer, s in zip(layers, sizes, strict=True))
    )
