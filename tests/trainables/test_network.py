import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import conv_transpose2d
from torch.utils.flop_counter import FlopCounterMode

from trainables.network import Autoencoder, doubled
from trainables.network_detector import AnyNetworkDetector
from trainables.registry import detector_class, model_names

N_C = (8, 16, 32)
N_Z = (8, 16, 32, 64, 128, 256, 512)
NETWORKS = ("ae", "dae", "vae")
OF_THEIR_OWN = [
    name
    for name in model_names()
    if name not in NETWORKS and issubclass(detector_class(name), AnyNetworkDetector)
]
CELLS = tuple(itertools.product(NETWORKS, N_C, N_Z))


def build(model: str, precision: str = "bfloat16", seed: int = 0, n_c: int = 4, n_z: int = 8):
    model_class = detector_class(model)
    params = model_class.Params.model_validate({"n_c": n_c, "n_z": n_z, "precision": precision})
    return model_class(params, seed=seed)


def network(model: str, **options) -> Autoencoder:
    detector = build(model, **options)
    detector.state()  # brings the weights into being
    return detector._network.eval()


@pytest.mark.parametrize(("model", "n_c", "n_z"), CELLS)
def test_every_cell_has_the_papers_shapes(model, n_c, n_z):
    detector = build(model, n_c=n_c, n_z=n_z)
    encoder, decoder = detector._network.encoder, detector._network.decoder
    shapes: list[tuple[int, ...]] = []
    for layer in [*encoder.trunk, encoder.last, *decoder.trunk, decoder.last]:
        layer.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
    detector.score(np.zeros((1, 128, 128), np.float32), np.ones((1, 128, 128), bool))

    widths = [n_c, 2 * n_c, 4 * n_c, 8 * n_c, 16 * n_c]
    n_out = {"ae": 1, "dae": 1, "vae": 2}[model]
    assert shapes[:5] == list(zip(widths, (64, 32, 16, 8, 4), (64, 32, 16, 8, 4), strict=True))
    assert shapes[5] == (n_z // 4, 2, 2)
    assert shapes[6:11] == shapes[4::-1]
    assert shapes[11] == (n_out, 128, 128)
    latent = {"ae": n_z, "dae": n_z, "vae": n_z // 2}[model]
    first = decoder.trunk[0][0]
    assert first.in_channels * 2 * 2 == latent


@pytest.mark.parametrize("model", NETWORKS)
def test_latent_has_the_papers_length(model):
    detector = build(model, n_z=32)
    detector.state()
    code = detector._network.eval().encoder(torch.zeros(2, 1, 128, 128))
    assert code.shape == (2, 32)
    if model == "vae":
        mean, log_variance = detector._posterior(torch.zeros(2, 1, 128, 128))
        assert mean.shape == log_variance.shape == (2, 16)
        torch.testing.assert_close(torch.cat([mean, log_variance], dim=1), code)


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_code_and_output_are_not_rounded_to_bfloat16(model, precision):
    net = network(model, precision=precision)
    x = torch.rand(2, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        code = net.encoder(x)
        output = net.decoder(code if model != "vae" else code.chunk(2, dim=1)[0])
    for tensor in (code, output):
        assert tensor.dtype == torch.float32
        assert (tensor != tensor.bfloat16().float()).float().mean() > 0.9


def test_precision_changes_the_trunk_but_little():
    x = torch.rand(2, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        coarse, fine = (network("ae", precision=p).encoder(x) for p in ("bfloat16", "float32"))
    assert not torch.equal(coarse, fine)
    torch.testing.assert_close(coarse, fine, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("model", [*NETWORKS, *OF_THEIR_OWN])
@pytest.mark.parametrize("n", [1, 5])
def test_scoring_computes_what_training_computes(make_slices, model, n):
    """Without gradients layers are computed in other ways; the sums are the same."""
    params = detector_class(model).smallest().model_copy(update={"precision": "float32"})
    detector = detector_class(model)(params, seed=0)
    train = make_slices(12, seed=3)
    for _ in detector.fit(train, None, 2):
        pass  # so that batch norm has statistics of its own
    x_B1HW = torch.from_numpy(train.batch(slice(0, n)).images_BHW).unsqueeze(1)
    detector._network.eval()
    as_in_training = detector._reconstruct(x_B1HW).detach()
    with torch.no_grad():
        scored = detector._reconstruct(x_B1HW)
    assert scored.shape == as_in_training.shape == x_B1HW.shape
    torch.testing.assert_close(scored, as_in_training, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("shape", [(3, 8, 2, 10, 7), (1, 5, 1, 4, 4), (2, 4, 3, 1, 9)])
def test_a_doubled_image_is_torchs_transposed_convolution(shape, channels_last):
    n, n_in, n_out, height, width = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, n_in, height, width, generator=generator)
    weight = torch.randn(n_in, n_out, 4, 4, generator=generator)
    for bias in (None, torch.randn(n_out, generator=generator)):
        found = doubled(x, weight, bias, channels_last=channels_last)
        theirs = conv_transpose2d(x, weight, bias, stride=2, padding=1)
        torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-4)


def test_all_parameters_and_batch_statistics_are_float32():
    values = network("vae").state_dict()
    dtypes = {v.dtype for k, v in values.items() if not k.endswith("num_batches_tracked")}
    assert dtypes == {torch.float32}


def test_initial_weights_come_from_the_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = network("vae", seed=5).state_dict()
    torch.manual_seed(2)
    again = network("vae", seed=5).state_dict()
    other = network("vae", seed=6).state_dict()
    torch.manual_seed(1)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["encoder.last.weight"], other["encoder.last.weight"])


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    network("vae")
    assert torch.equal(before, torch.get_rng_state())


def test_initial_weights_follow_torchs_default():
    ours = network("ae", n_c=8).encoder.trunk[2][0].weight
    theirs = torch.nn.Conv2d(16, 32, 4).weight
    assert ours.abs().max() <= 1 / 16
    torch.testing.assert_close(ours.std(), theirs.std(), rtol=0.05, atol=0)


@pytest.mark.parametrize(("model", "n_c", "n_z"), [("ae", 8, 8), ("dae", 8, 64), ("vae", 16, 512)])
def test_flops_are_three_counted_forward_passes(model, n_c, n_z):
    detector = build(model, n_c=n_c, n_z=n_z, precision="float32")
    assert detector.flops_per_slice() == 3 * flops_of_a_loss(detector)


def flops_of_a_loss(detector) -> int:
    """Of the forward pass in training; scoring computes the last layer in another way."""
    detector.state()  # brings the weights into being
    with FlopCounterMode(display=False) as counter:
        detector._loss(torch.rand(1, 1, 128, 128), None)
    return counter.get_total_flops()


@pytest.mark.parametrize("model", OF_THEIR_OWN)
def test_flops_of_every_other_network_are_three_counted_forward_passes(model):
    detector = detector_class(model)(detector_class(model).smallest(), seed=0)
    assert detector.flops_per_slice() == 3 * flops_of_a_loss(detector)


def test_number_of_parameters_is_known_before_there_are_weights():
    detector = build("vae", n_c=16, n_z=64)
    counted = detector.n_parameters
    assert counted == sum(p.numel() for p in network("vae", n_c=16, n_z=64).parameters())
    # the two widest pairs of convolutions alone
    assert counted > 2 * (128 * 256 + 64 * 128) * 16


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        ("ae", {"n_z": 10}),
        ("vae", {"n_z": 12}),
        ("ae", {"n_z": 0}),
        ("ae", {"n_c": 0}),
        ("ae", {"batch_size": 1}),
        ("ae", {"learning_rate": 0.0}),
        ("ae", {"betas": (0.9, 1.0)}),
        ("ae", {"weight_decay": -1.0}),
        ("dae", {"noise_std": -0.5}),
        ("vae", {"log_variance_floor": float("-inf")}),
        ("ae", {"precision": "float16"}),
        ("ae", {"noise_std": 0.5}),
    ],
)
def test_impossible_settings_are_refused(model, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        detector_class(model).Params.model_validate({"n_c": 8, "n_z": 8} | wrong)
