import dataclasses

import numpy as np
import pytest
import torch

from trainables.detector import NonFiniteLossError, detector_class
from trainables.fit import CHECK_EVERY, Settings, Training

NETWORKS = ("ae", "dae", "vae")


def build(model: str, seed: int = 0, **params):
    model_class = detector_class(model)
    values = {"n_c": 2, "n_z": 8, "batch_size": 4} | params
    return model_class(model_class.Params.model_validate(values), seed=seed)


def assert_same(state, other):
    assert state.keys() == other.keys()
    for name, array in state.items():
        assert array.dtype == other[name].dtype
        assert array.tobytes() == other[name].tobytes(), name


def changed(state, other) -> set[str]:
    return {name for name in state if state[name].tobytes() != other[name].tobytes()}


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_resume_is_bit_identical(make_slices, model, precision):
    train, validation = make_slices(10), make_slices(3, seed=1)
    straight = build(model, precision=precision)
    expected = list(straight.fit(train, validation, 3))

    interrupted = build(model, precision=precision)
    metrics = list(interrupted.fit(train, validation, 1))
    continued = build(model, precision=precision)
    continued.load_state(interrupted.state())
    metrics += continued.fit(train, validation, 3)

    assert metrics == expected
    assert_same(continued.state(), straight.state())


def test_resume_goes_on_with_the_seed_of_the_state(make_slices):
    train = make_slices(6)
    straight = build("vae", seed=1)
    list(straight.fit(train, None, 2))
    first = build("vae", seed=1)
    list(first.fit(train, None, 1))
    second = build("vae", seed=2)
    second.load_state(first.state())
    list(second.fit(train, None, 2))
    assert_same(second.state(), straight.state())


def test_a_state_is_a_copy(make_slices):
    train = make_slices(4)
    detector = build("ae")
    list(detector.fit(train, None, 1))
    state = detector.state()
    kept = {name: array.copy() for name, array in state.items()}
    list(detector.fit(train, None, 2))
    assert_same(state, kept)
    detector.load_state(state)
    list(detector.fit(train, None, 2))
    assert_same(state, kept)


def test_training_leaves_the_global_generators_alone(make_slices):
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(build("vae").fit(make_slices(4), make_slices(2, seed=1), 1))
    assert torch.equal(torch_before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()


def test_shuffling_depends_on_the_seed_and_the_epoch(make_slices):
    train = make_slices(6)
    orders = {}
    for seed in (0, 1):
        net = torch.nn.Conv2d(1, 1, 1)
        training = Training(net, Settings(6, 1e-3, (0.9, 0.999), 0.0), seed=seed)
        seen: list[torch.Tensor] = []

        def objective(x, generator, net=net, seen=seen):
            seen.append(x.sum(dim=(1, 2, 3)))
            return net(x).mean()

        list(training.run(objective, train, None, 2))
        orders[seed] = seen
    assert not torch.equal(orders[0][0], orders[0][1])
    assert not torch.equal(orders[0][0], orders[1][0])
    torch.testing.assert_close(orders[0][0].sort().values, orders[1][1].sort().values)


def test_every_step_of_every_seed_draws_noise_of_its_own(make_slices):
    train, drawn = make_slices(6), []
    for seed in (0, 1):
        net = torch.nn.Conv2d(1, 1, 1)

        def objective(x, generator, net=net):
            drawn.append(torch.rand((), generator=generator).item())
            return net(x).mean()

        list(
            Training(net, Settings(2, 1e-3, (0.9, 0.999), 0.0), seed=seed).run(
                objective, train, None, 2
            )
        )
    assert len(drawn) == 2 * 2 * 3
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("model", ["dae", "vae"])
def test_noise_differs_between_steps_and_is_absent_without_a_generator(make_slices, model):
    detector = build(model)
    detector.state()
    x = torch.from_numpy(make_slices(2).images([0, 1])).float().unsqueeze(1)

    def loss(seed: int | None) -> float:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        detector._network.train()
        return detector._loss(x, generator).item()

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)
    assert loss(None) == loss(None)
    assert loss(None) != loss(1)


def test_denoising_has_the_set_noise_and_a_clean_target(make_slices, monkeypatch):
    detector = build("dae", noise_std=0.5)
    detector.state()
    x = torch.from_numpy(make_slices(4).images(slice(0, 4))).float().unsqueeze(1)
    given = []
    monkeypatch.setattr(detector, "_reconstruct", lambda noisy: given.append(noisy) or x)
    assert detector._loss(x, torch.Generator().manual_seed(0)).item() == 0
    noise = given[0] - x
    assert noise.std().item() == pytest.approx(0.5, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)


def test_mean_squared_error_is_over_pixels_and_batch(make_slices):
    detector = build("ae")
    slices = make_slices(3)
    batch = slices.batch(slice(0, 3))
    picture = detector.pictures(batch.images_BHW, batch.brain_BHW)["reconstruction"]
    x = torch.from_numpy(batch.images_BHW).unsqueeze(1)
    detector._network.eval()
    expected = np.mean((picture - batch.images_BHW) ** 2)
    assert detector._loss(x, None).item() == pytest.approx(expected, rel=1e-5)


def test_elbo_sums_the_nll_over_pixels_and_adds_the_divergence(make_slices):
    detector = build("vae", precision="float32")
    slices = make_slices(3)
    batch = slices.batch(slice(0, 3))
    nll = detector.score(batch.images_BHW, batch.brain_BHW)["nll"].sum(axis=(1, 2))
    x = torch.from_numpy(batch.images_BHW).unsqueeze(1)
    mean, log_variance = detector._posterior(x)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    divergence = torch.distributions.kl_divergence(posterior, prior).sum(dim=1)
    expected = float(np.mean(nll) + divergence.mean().item())
    assert detector._loss(x, None).item() == pytest.approx(expected, rel=1e-5)


def test_the_optimiser_is_adam_with_l2_inside(make_slices):
    """One step by hand, from the update rule of Kingma and Ba with the penalty in the gradient."""
    net = torch.nn.Linear(1, 1, bias=False)
    weight = net.weight.item()
    training = Training(net, Settings(2, 0.1, (0.9, 0.99), 0.5), seed=0)

    def objective(x, generator):
        return 3 * net.weight.sum()

    list(training.run(objective, make_slices(4), None, 1))
    first = second = 0.0
    for step in (1, 2):
        gradient = 3 + 0.5 * weight
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        corrected = (second / (1 - 0.99**step)) ** 0.5
        weight -= 0.1 * first / (1 - 0.9**step) / (corrected + 1e-8)
    assert net.weight.item() == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize("model", NETWORKS)
def test_loss_goes_down(make_slices, model):
    detector = build(model, n_c=4, n_z=32)
    losses = [m.train_loss for m in detector.fit(make_slices(8), None, 12)]
    assert losses[-1] < 0.9 * losses[0]


def test_validation_changes_nothing_and_is_repeatable(make_slices):
    train = make_slices(6)
    without, with_it = build("vae"), build("vae")
    plain = list(without.fit(train, None, 2))
    validated = list(with_it.fit(train, make_slices(5, seed=1), 2))
    assert_same(without.state(), with_it.state())
    assert [m.validation_loss for m in plain] == [None, None]
    assert [dataclasses.replace(m, validation_loss=None) for m in validated] == plain
    assert validated[0].validation_loss != validated[1].validation_loss


def test_validation_loss_is_the_mean_over_slices_without_noise(make_slices):
    detector = build("dae")
    validation = make_slices(7, seed=1)
    (metrics,) = detector.fit(make_slices(4), validation, 1)
    batch = validation.batch(slice(0, 7))
    score = detector.score(batch.images_BHW, batch.brain_BHW)["squared_error"]
    assert metrics.validation_loss == pytest.approx(float(score.mean()), rel=1e-3)


@pytest.mark.parametrize(("n", "seen", "steps"), [(8, 8, 2), (10, 10, 3), (9, 8, 2)])
def test_a_single_slice_left_over_is_skipped(make_slices, n, seen, steps):
    (metrics,) = build("ae").fit(make_slices(n), None, 1)
    assert (metrics.n_slices, metrics.steps) == (seen, steps)


def test_too_few_slices_are_refused(make_slices):
    with pytest.raises(ValueError, match="at least 2 slices to train on, not 1"):
        next(build("ae").fit(make_slices(1), None, 1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_training_images_end_in_an_error(make_slices, value):
    train = make_slices(8)
    images = train.images_NHW.copy()
    images[0, 64, 64] = value
    detector = build("vae")
    with pytest.raises(NonFiniteLossError, match=r"loss is (nan|inf) at step [12] of epoch 1"):
        list(detector.fit(dataclasses.replace(train, images_NHW=images), None, 1))


def test_non_finite_validation_ends_in_an_error(make_slices):
    validation = make_slices(2)
    images = np.full_like(validation.images_NHW, np.nan)
    broken = dataclasses.replace(validation, images_NHW=images)
    with pytest.raises(NonFiniteLossError, match="validation loss is nan after epoch 1"):
        list(build("ae").fit(make_slices(4), broken, 1))


def test_the_first_bad_step_is_named(make_slices):
    net = torch.nn.Linear(1, 1, bias=False)
    training = Training(net, Settings(2, 1e-3, (0.9, 0.999), 0.0), seed=0)
    calls = 0

    def objective(x, generator):
        nonlocal calls
        calls += 1
        return net.weight.sum() * (float("nan") if calls == CHECK_EVERY + 3 else 1.0)

    with pytest.raises(NonFiniteLossError, match=f"step {CHECK_EVERY + 3} of epoch 1"):
        list(training.run(objective, make_slices(2 * CHECK_EVERY + 20), None, 1))


def test_flags_of_the_caller_are_untouched_between_epochs(make_slices):
    flags = (torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32)
    epochs = build("ae").fit(make_slices(4), None, 2)
    next(epochs)
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32) == flags
    assert len(list(epochs)) == 1


def test_a_wrong_state_changes_nothing(make_slices):
    detector = build("ae")
    list(detector.fit(make_slices(4), None, 1))
    before = detector.state()
    other = build("ae", seed=9)
    state = dict(other.state()) | {"model.decoder.last.bias": np.zeros(3, np.float32)}
    with pytest.raises(ValueError, match=r"'model.decoder.last.bias' is float32 of shape \(3,\)"):
        detector.load_state(state)
    assert_same(detector.state(), before)


def test_states_of_other_networks_are_refused(make_slices):
    detector = build("ae")
    with pytest.raises(ValueError, match=r"has float32 of shape"):
        detector.load_state(build("ae", n_c=4).state())
    fitted = build("ae")
    list(fitted.fit(make_slices(4), None, 1))
    state = dict(fitted.state())
    for name in ("optim.exp_avg.encoder.last.weight", "steps", "epoch", "rng.seed"):
        partial = {k: v for k, v in state.items() if k != name}
        with pytest.raises(ValueError, match=name):
            detector.load_state(partial)
    weights = state | {"model.encoder.last.bias": state["model.encoder.last.bias"].astype(int)}
    with pytest.raises(ValueError, match="is int64"):
        detector.load_state(weights)


def test_weights_alone_start_a_new_training(make_slices):
    train = make_slices(4)
    fitted = build("ae")
    list(fitted.fit(train, None, 2))
    weights = {k: v for k, v in fitted.state().items() if k.startswith("model.")}
    detector = build("ae")
    detector.load_state(weights)
    assert changed(weights, detector.state()) == set()
    (metrics,) = detector.fit(train, None, 1)
    assert (metrics.epoch, metrics.steps) == (1, 1)
