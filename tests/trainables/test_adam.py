"""Adam is torch's, and loads no compiler."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainables.adam import Adam

ROOT = Path(__file__).parents[2]


def _network(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3).to(memory_format=torch.channels_last),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(144, 3),
        torch.nn.Linear(3, 2),
    )


@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_every_bit_is_that_of_torch(weight_decay):
    ours, theirs = _network(0), _network(0)
    optimiser = Adam(dict(ours.named_parameters()), betas=(0.9, 0.99), weight_decay=weight_decay)
    peer = torch.optim.Adam(
        theirs.parameters(), betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
    )
    for step in range(6):
        x = torch.randn(5, 1, 8, 8)
        rate = 1e-2 / (step + 1)
        n_used = 4 if step < 3 else 5  # the last layer has no gradient at first
        for network in (ours, theirs):
            network[:n_used](x).square().mean().backward()
        optimiser.step(rate)
        peer.param_groups[0]["lr"] = rate
        peer.step()
        peer.zero_grad()
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(mine, other)
            assert mine.grad is None


def test_it_goes_on_from_moments():
    networks = [_network(0), _network(0)]
    first, second = (
        Adam(dict(network.named_parameters()), betas=(0.9, 0.99), weight_decay=0.0)
        for network in networks
    )
    for step in range(4):
        x = torch.randn(5, 1, 8, 8)
        if step == 2:
            networks[1].load_state_dict(networks[0].state_dict())
            second.load(2, first.moments)
        for network, optimiser in zip(networks, (first, second), strict=True):
            if network is networks[0] or step >= 2:
                network(x).sum().backward()
                optimiser.step(1e-3)
    for mine, other in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(mine, other)


def test_a_fit_and_its_scores_load_no_compiler():
    code = """
import sys
from tests.networks import build
from trainables.testing import healthy_slices
slices = healthy_slices(6)
detector = build("vae")
list(detector.fit(slices, None, 1))
images = slices.images_NHW[:2].astype("float32")
detector.score(images, images > 0)
loaded = {"torch._dynamo", "torch._inductor"} & set(sys.modules)
sys.exit(f"loaded: {loaded}" if loaded else 0)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
