"""FSL's BET, by a stand-in on the PATH that takes, needs and writes what FSL documents.

Reference: https://fsl.fmrib.ox.ac.uk/fsl/docs/structural/bet.html
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets import extractors
from datasets.brain import brain_source, extract_brain
from datasets.errors import ExtractorError, ScanError
from datasets.extractors import extractor_identity, run_extractor
from datasets.nifti import Volume
from datasets.scan import Scan
from tests.commands import lives, wait_until

SHAPE = (52, 62, 56)
SPACING = (4.0, 4.0, 4.0)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def ellipsoid(
    radii_mm: tuple[float, float, float], centre_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    parts = zip(np.indices(SHAPE), SHAPE, SPACING, radii_mm, centre_mm, strict=True)
    return np.asarray(sum((((i - (n - 1) / 2) * d - c) / r) ** 2 for i, n, d, r, c in parts) <= 1)


BRAIN = ellipsoid((66, 82, 62), (0, 0, 20))


def whole_head() -> Volume:
    rng = np.random.default_rng(0)
    data = np.abs(4 * rng.standard_normal(SHAPE))
    data[ellipsoid((90, 108, 100), (0, 0, 4))] = 500
    data[ellipsoid((82, 100, 90), (0, 0, 8))] = 60
    data[BRAIN] = 300
    data += (data > 50) * 20 * rng.standard_normal(SHAPE)
    return Volume(data.astype(np.float32), AFFINE, SPACING)


def scan_of(**fields: object) -> Scan:
    return replace(Scan("01", "", "T1w", Path("head.nii.gz")), **fields)  # type: ignore[arg-type]


STAND_IN = """#!{python}
# bet <input> <output> [options]
import os, sys
import nibabel as nib, numpy as np
words = sys.argv[1:]
if len(words) < 2 or words[0].startswith("-"):
    print("Usage:    bet <input> <output> [options]")
    sys.exit(1)
suffixes = dict(NIFTI=".nii", NIFTI_GZ=".nii.gz", NIFTI_PAIR=".img", NIFTI_PAIR_GZ=".img.gz")
if os.environ.get("FSLOUTPUTTYPE") not in suffixes:
    print("ERROR:: Environment variable FSLOUTPUTTYPE is not set!")
    print("Please make sure that the appropriate configuration file is sourced by your shell")
    sys.exit(1)
if {needs_fsldir} and not os.path.isfile(os.environ.get("FSLDIR", "") + "/etc/fslversion"):
    print("/bin/remove_ext: No such file or directory")
    sys.exit(127)
suffix = suffixes[os.environ["FSLOUTPUTTYPE"]]
source, target, *options = words
with open({log!r}, "a") as log:
    log.write(" ".join(options) + chr(10))
arity = dict.fromkeys("-o -m -s -n -t -e -R -S -B -Z -F -A -v -d".split(), 0)
arity |= {{"-f": 1, "-g": 1, "-r": 1, "-A2": 1, "-c": 3}}
given = {{}}
while options:
    name = options.pop(0)
    if name not in arity:
        print("Unrecognised option " + name)
        sys.exit(1)
    given[name] = [float(options.pop(0)) for _ in range(arity[name])]
if len(given.keys() & {{"-R", "-S", "-B", "-Z", "-F", "-A", "-A2"}}) > 1:
    print("Error: only one of -R -S -B -Z -F -A -A2 may be used")
    sys.exit(1)
found = [source + e for e in ("", *suffixes.values()) if os.path.isfile(source + e)]
if not found:
    print("** ERROR (nifti_image_read): failed to find header file for " + repr(source))
    sys.exit(1)
if {fails}:
    print("terminate called: cannot do this " + "one", file=sys.stderr)
    sys.exit(134)
image = nib.load(found[0])
data = image.get_fdata()
fraction = given.get("-f", [0.5])[0]
mask = (data > 200) & (data < 420 - 80 * fraction)
if "-R" not in given and {first_fails}:
    mask[:] = False
    mask[:3] = True
for e in suffixes.values():  # FSL takes an ending off the name of its output
    target = target.removesuffix(e)
if "-n" not in given:
    nib.save(nib.Nifti1Image((data * mask).astype("float32"), image.affine), target + suffix)
if "-m" in given:
    nib.save(nib.Nifti1Image(mask.astype("uint8"), image.affine), target + "_mask" + suffix)
"""


def put_bet(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, where: str = "bin") -> None:
    program = folder / where / "bet"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def stand_in(
    folder: Path, fails: bool = False, first_fails: bool = False, needs_fsldir: bool = False
) -> str:
    return STAND_IN.format(
        python=sys.executable,
        log=str(folder / "calls.txt"),
        fails=fails,
        first_fails=first_fails,
        needs_fsldir=needs_fsldir,
    )


@pytest.mark.parametrize("output_type", ["NIFTI_PAIR", "NIFTI", "nonsense", None])
def test_bet_makes_the_mask_whatever_output_the_user_has_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output_type: str | None
) -> None:
    put_bet(tmp_path, monkeypatch, stand_in(tmp_path))
    if output_type is None:
        monkeypatch.delenv("FSLOUTPUTTYPE", raising=False)
    else:
        monkeypatch.setenv("FSLOUTPUTTYPE", output_type)
    mask = run_extractor("bet", whole_head())
    assert (mask ^ BRAIN).sum() < 0.02 * BRAIN.sum()
    assert (tmp_path / "calls.txt").read_text() == "-m -f 0.5\n"


@pytest.mark.parametrize("where", ["bin", "share/fsl/bin"])
def test_fsls_folder_is_told_to_a_bet_that_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.delenv("FSLDIR", raising=False)
    put_bet(tmp_path, monkeypatch, stand_in(tmp_path, needs_fsldir=True), where)
    with pytest.raises(ScanError, match=r"exit status 127: .*remove_ext: No such file"):
        run_extractor("bet", whole_head())
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "fslversion").write_text("6.0.7.17\n")
    assert run_extractor("bet", whole_head()).any()
    assert extractor_identity("bet") == "bet 6.0.7.17"


def test_a_bet_that_succeeds_without_a_mask_sets_the_scan_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_bet(tmp_path, monkeypatch, "#!/bin/sh\nexit 0\n")
    with pytest.raises(ScanError, match="ended without writing a brain mask"):
        run_extractor("bet", whole_head())


def test_bet_is_run_again_with_robust_centring_when_its_mask_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_bet(tmp_path, monkeypatch, stand_in(tmp_path, first_fails=True))
    found = extract_brain(whole_head(), scan_of(), "bet")
    assert (tmp_path / "calls.txt").read_text().splitlines() == ["-m -f 0.5", "-m -R -f 0.4"]
    assert (found.mask_XYZ ^ BRAIN).sum() < 0.02 * BRAIN.sum()
    assert found.tool == extractor_identity("bet")
    assert "tried before" in found.notes[0]


def test_a_failing_bet_sets_the_scan_aside_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_bet(tmp_path, monkeypatch, stand_in(tmp_path, fails=True))
    with pytest.raises(ScanError, match="exit status 134: terminate called: cannot do this one"):
        extract_brain(whole_head(), scan_of(), "bet")
    assert len((tmp_path / "calls.txt").read_text().splitlines()) == 2


def test_a_bet_that_hangs_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = f"mkfifo {tmp_path}/never\ncat {tmp_path}/never & echo $! > {tmp_path}/pid\nwait\n"
    put_bet(tmp_path, monkeypatch, f"#!/bin/sh\n{waits}")
    monkeypatch.setattr(extractors, "BET_TIMEOUT_S", 0.5)
    with pytest.raises(ScanError, match="took longer"):
        run_extractor("bet", whole_head())
    child = int((tmp_path / "pid").read_text())
    assert wait_until(lambda: not lives(child), 30.0), "what bet has started lives on"


def test_asking_for_a_bet_that_is_not_there_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExtractorError, match="PATH"):
        extract_brain(whole_head(), scan_of(), "bet")
    with pytest.raises(ExtractorError, match="PATH"):
        brain_source(scan_of(), "bet")
    assert brain_source(scan_of(stripped=True), "bet") == "already stripped"
    with pytest.raises(ExtractorError, match="PATH"):
        brain_source(scan_of(brain_mask=Path("m.nii")), "bet")  # the mask may be no brain


def test_the_version_of_bet_is_fsls_or_the_programs_own_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_bet(tmp_path, monkeypatch, "#!/bin/sh\n")
    before = extractor_identity("bet")
    put_bet(tmp_path, monkeypatch, "#!/bin/sh\nexit 1\n")
    assert extractor_identity("bet") != before
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "fslversion").write_text("6.0.7\n")
    assert extractor_identity("bet") == "bet 6.0.7"
