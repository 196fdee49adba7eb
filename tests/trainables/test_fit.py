import dataclasses

import numpy as np
import pytest
import torch

from tests.networks import build
from trainables.adam import Adam
from trainables.batchnorm import batch_norm_buffers, batch_norms
from trainables.detector import EpochMetrics, NonFiniteLossError, StepMetrics
from trainables.fit import CHECK_EVERY, Settings, Training, n_batches, split_evenly
from trainables.schedule import learning_rate, steps_before_decay

NETWORKS = ("ae", "dae", "vae")


def assert_same(state, other):
    assert state.keys() == other.keys()
    for name, array in state.items():
        assert array.dtype == other[name].dtype
        assert array.tobytes() == other[name].tobytes(), name


def changed(state, other) -> set[str]:
    return {name for name in state if state[name].tobytes() != other[name].tobytes()}


CONSTANT = Settings(2, 1e-3, (0.9, 0.999), 0.0, "constant", reestimate_batch_norm=False)


def every_state(model: str, train, validation, epochs: int, **params):
    """The states of a fit after each of its steps, and all that it told of its epochs."""
    detector = build(model, **params)
    states, told = [], []
    for metrics in detector.fit(train, validation, epochs, every_s=0):
        if isinstance(metrics, StepMetrics):
            states.append(detector.state())
        else:
            told.append(metrics)
    return detector, states, told


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_resume_is_bit_identical_after_every_step(make_slices, model, precision):
    train, validation = make_slices(10), make_slices(3, seed=1)
    straight, states, expected = every_state(model, train, validation, 3, precision=precision)
    assert len(states) == 3 * n_batches(10, 4)
    for state in states:
        continued = build(model, precision=precision)
        continued.load_state(state)
        metrics = list(continued.fit(train, validation, 3))
        assert metrics == expected[3 - len(metrics) :]
        assert_same(continued.state(), straight.state())
        assert_same(continued.weights(), straight.weights())


def test_how_often_it_tells_changes_nothing(make_slices):
    train = make_slices(10)
    told, _, epochs = every_state("vae", train, None, 2)
    silent = build("vae")
    assert list(silent.fit(train, None, 2)) == epochs
    assert_same(silent.state(), told.state())


def test_what_is_told_within_an_epoch_adds_up(make_slices):
    metrics = list(build("ae").fit(make_slices(10), None, 2, every_s=0))
    for epoch in (1, 2):
        pieces = [m for m in metrics if isinstance(m, StepMetrics) and m.epoch == epoch - 1]
        (whole,) = (m for m in metrics if isinstance(m, EpochMetrics) and m.epoch == epoch)
        assert sum(p.n_slices for p in pieces) == whole.n_slices == 10
        assert [p.share for p in pieces] == pytest.approx([1 / 3, 2 / 3, 1])
        assert pieces[-1].train_loss == pytest.approx(whole.train_loss)
        assert pieces[-1].steps == whole.steps


def test_resume_goes_on_with_the_seed_of_the_state(make_slices):
    train = make_slices(6)
    straight, states, _ = every_state("vae", train, None, 2, seed=1)
    second = build("vae", seed=2)
    second.load_state(states[1])
    list(second.fit(train, None, 2))
    assert_same(second.state(), straight.state())


def test_the_rate_is_full_and_then_falls_to_zero_over_the_last_third():
    rates = [learning_rate(step, 90, "decay") for step in range(91)]
    assert rates[:61] == [1.0] * 61
    assert np.diff(rates[60:]) == pytest.approx(-1 / 30)
    assert rates[90] == 0
    assert {learning_rate(step, 90, "constant") for step in range(90)} == {1.0}
    assert [steps_before_decay(n, "decay") for n in (1, 2, 3, 7)] == [0, 1, 2, 4]


def test_the_optimiser_takes_the_rate_of_each_step(make_slices, monkeypatch):
    net = torch.nn.Linear(1, 1, bias=False)
    training = Training(net, dataclasses.replace(CONSTANT, schedule="decay"), seed=0)
    rates, step = [], Adam.step
    monkeypatch.setattr(Adam, "step", lambda self, rate: (rates.append(rate), step(self, rate)))
    list(training.run(lambda x, generator: net.weight.sum(), make_slices(6), None, 3))
    assert rates == pytest.approx([1e-3] * 7 + [2e-3 / 3, 1e-3 / 3], rel=1e-6)


@pytest.mark.parametrize("schedule", ["decay", "constant"])
def test_raised_epochs_end_as_if_asked_for_at_once(make_slices, schedule):
    train, validation = make_slices(10), make_slices(3, seed=1)
    straight, _, expected = every_state("vae", train, validation, 5, schedule=schedule)
    raised = build("vae", schedule=schedule)
    for epochs in (1, 2, 5):
        metrics = list(raised.fit(train, validation, epochs))
    assert metrics == expected[5 - len(metrics) :]
    assert_same(raised.state(), straight.state())
    assert_same(raised.weights(), straight.weights())


def test_a_fit_leads_only_through_its_own_states(make_slices):
    train = make_slices(10)  # three steps an epoch
    detector, states, _ = every_state("ae", train, None, 3)  # decays from step 6 of 9
    assert detector.continuation() is not None
    assert int(detector.continuation()["steps"]) == 6
    leads = [[detector.leads_to(s, 10, epochs) for s in states] for epochs in (1, 2, 3, 4)]
    assert leads == [
        [True] * 2 + [False] * 7,
        [True] * 4 + [False] * 5,
        [True] * 9,
        [True] * 6 + [False] * 3,
    ]


def test_a_training_beyond_its_decay_says_so_when_more_is_asked(make_slices):
    train = make_slices(10)
    _, states, _ = every_state("ae", train, None, 2)
    other = build("ae")
    other.load_state(states[-1])
    with pytest.raises(ValueError, match="decayed towards 2 epochs; one of 3 goes on from"):
        list(other.fit(train, None, 3))


@pytest.mark.parametrize("n", [2, 3, 5, 31, 32, 33, 34, 63, 65, 96, 97, 1000])
def test_batches_are_equal_and_no_larger_than_asked_for(n):
    batches = split_evenly(np.arange(n), 32)
    sizes = [len(b) for b in batches]
    assert np.concatenate(batches).tolist() == list(range(n))
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 32
    assert min(sizes) >= min(16, n)


@pytest.mark.parametrize("model", NETWORKS)
def test_scoring_uses_the_statistics_of_the_training_images(make_slices, model):
    """Evaluation mode and batches' own statistics give losses within 2 % on training slices."""
    train = make_slices(96)
    detector = build(model, n_c=4, n_z=16, batch_size=16)
    list(detector.fit(train, None, 8))
    net = detector._network
    x = torch.from_numpy(train.images(slice(None))).float().unsqueeze(1)
    with torch.no_grad():
        net.eval()
        evaluated = detector._loss(x, None).item()
        running = {k: v.clone() for k, v in batch_norm_buffers(net).items()}
        net.train()
        with_batches = detector._loss(x, None).item()
        for name, buffer in batch_norm_buffers(net).items():
            buffer.copy_(running[name])
    assert evaluated == pytest.approx(with_batches, rel=0.02)


def test_statistics_are_the_plain_average_over_the_training_images(make_slices):
    """By hand for the first layer, whose input is the image itself."""
    train = make_slices(8)
    detector = build("ae", batch_size=4)
    list(detector.fit(train, None, 2))
    net = detector._network
    x = torch.from_numpy(train.images(slice(None))).float().unsqueeze(1)
    with torch.no_grad():
        mapped = net.encoder.trunk[0][0](x)
    name, layer = next(iter(batch_norms(net)))
    assert name == "encoder.trunk.0.1"
    assert layer.num_batches_tracked == 2
    expected = mapped.mean(dim=(0, 2, 3))
    torch.testing.assert_close(layer.running_mean, expected, rtol=1e-4, atol=1e-6)


def test_reestimation_is_a_setting_and_changes_no_weight(make_slices):
    train = make_slices(8)
    with_it, without = build("ae"), build("ae", reestimate_batch_norm=False)
    list(with_it.fit(train, None, 2))
    list(without.fit(train, None, 2))
    assert_same(with_it.state(), without.state())
    names = changed(with_it.weights(), without.weights())
    assert names
    assert all(n.endswith(("running_mean", "running_var", "num_batches_tracked")) for n in names)
    assert_same(without.weights(), {n: a for n, a in without.state().items() if n[:6] == "model."})


def test_a_state_is_a_copy(make_slices):
    train = make_slices(4)
    detector = build("ae", schedule="constant")
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
        training = Training(net, dataclasses.replace(CONSTANT, batch_size=6), seed=seed)
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

        list(Training(net, CONSTANT, seed=seed).run(objective, train, None, 2))
    assert len(drawn) == 2 * 2 * 3
    assert len(set(drawn)) == len(drawn)


def test_the_optimiser_is_adam_with_l2_inside(make_slices):
    """One step by hand, from the update rule of Kingma and Ba with the penalty in the gradient."""
    net = torch.nn.Linear(1, 1, bias=False)
    weight = net.weight.item()
    training = Training(net, Settings(2, 0.1, (0.9, 0.99), 0.5, "constant"), seed=0)

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


@pytest.mark.parametrize(("n", "steps"), [(8, 2), (10, 3), (9, 3), (5, 2), (2, 1)])
def test_every_slice_is_seen_once_an_epoch(make_slices, n, steps):
    (metrics,) = build("ae").fit(make_slices(n), None, 1)
    assert (metrics.n_slices, metrics.steps) == (n, steps)


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
    training = Training(net, CONSTANT, seed=0)
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
    counts = ("steps", "epoch", "epoch.loss_sum", "decay.epochs", "rng.seed")
    for name in ("optim.exp_avg.encoder.last.weight", *counts):
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
    weights = fitted.weights()
    detector = build("ae")
    detector.load_state(weights)
    assert changed(weights, detector.state()) == set()
    (metrics,) = detector.fit(train, None, 1)
    assert (metrics.epoch, metrics.steps) == (1, 1)
