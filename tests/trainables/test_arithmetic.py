"""bfloat16 only where the processor has it and may use it."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from trainables.arithmetic import cpu_has_bfloat16, fast_precision, reproducible
from trainables.network_detector import AnyNetworkDetector
from trainables.registry import detector_class, model_names


@pytest.fixture
def able(monkeypatch):
    """A processor that has everything."""
    features = {"avx512_bf16": True, "amx_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    return features


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
@pytest.mark.parametrize(
    ("limit", "has"),
    [
        ("AVX2", False),
        ("avx2", False),
        ("AVX2_VNNI", False),
        ("AVX512_CORE", False),
        ("AVX512_CORE_VNNI", False),
        ("AVX512_CORE_BF16", True),
        ("AVX512_CORE_AMX", True),
        ("DEFAULT", True),
        ("", True),
    ],
)
def test_a_limit_of_onednn_is_honoured(able, name, limit, has):
    assert cpu_has_bfloat16({name: limit}) is has


@pytest.mark.parametrize(
    ("limit", "has"), [("avx2", False), ("default", False), ("avx512", True), ("", True)]
)
def test_a_limit_of_torch_is_honoured(able, limit, has):
    assert cpu_has_bfloat16({"ATEN_CPU_CAPABILITY": limit}) is has


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16"])
def test_either_instruction_set_is_enough(able, feature):
    able.update(avx512_bf16=False, amx_bf16=False)
    assert not cpu_has_bfloat16({})
    able[feature] = True
    assert cpu_has_bfloat16({})


@pytest.mark.parametrize(
    ("capability", "precision"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")]
)
def test_cards_have_it_from_8_0(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert fast_precision("cuda") == precision


def test_this_processor_can_be_held_back():
    code = "from trainables.arithmetic import fast_precision; print(fast_precision('cpu'))"
    limits = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **limits},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "float32"


def flags():
    """Deterministic convolutions; TF32 in convolutions and in matrix products."""
    cudnn = torch.backends.cudnn
    return cudnn.deterministic, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def test_flags_of_the_caller_come_back_even_after_an_error():
    inside = []

    def fail():
        with reproducible():
            inside.append(flags())
            raise ArithmeticError

    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        before = flags()
        with pytest.raises(ArithmeticError):
            fail()
        assert inside == [(True, False, False)]
        assert flags() == before == (False, True, True)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def test_flags_come_back_once_the_last_of_several_threads_has_left():
    """Whoever entered first leaves first, amid the other's work."""
    before, seen = flags(), []
    both_are_in, first_has_left = threading.Barrier(2), threading.Event()

    def first():
        with reproducible():
            both_are_in.wait()
        first_has_left.set()

    thread = threading.Thread(target=first)
    thread.start()
    with reproducible():
        both_are_in.wait()
        first_has_left.wait()
        seen.append(flags())
    thread.join()
    assert seen == [(True, False, False)]
    assert flags() == before


def test_flags_are_set_until_the_outer_of_two_blocks_ends():
    before = flags()
    with reproducible():
        with reproducible():
            pass
        assert flags() == (True, False, False)
    assert flags() == before


NETWORKS = [n for n in model_names() if issubclass(detector_class(n), AnyNetworkDetector)]


@pytest.mark.parametrize("model", NETWORKS)
def test_float32_is_float32_in_training_and_scoring(make_slices, monkeypatch, model):
    model_class, seen = detector_class(model), []
    detector = model_class(model_class.smallest(), seed=0)
    for network in {type(m) for m in detector._network.modules()}:
        if issubclass(network, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            forward = network.forward
            monkeypatch.setattr(
                network,
                "forward",
                lambda self, *x, forward=forward: seen.append(flags()) or forward(self, *x),
            )
    list(detector.fit(make_slices(4), make_slices(2, seed=1), 1))
    trained = len(seen)
    batch = make_slices(2).batch(slice(0, 2))
    detector.more_scores(("ssim_residual",), batch.images_BHW, batch.brain_BHW)
    detector.pictures(batch.images_BHW, batch.brain_BHW)
    detector.score(batch.images_BHW, batch.brain_BHW)
    assert len(seen) > trained > 0
    assert set(seen) == {(True, False, False)}
