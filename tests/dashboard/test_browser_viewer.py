"""The viewer in a real browser: what it draws, where it says that is, and what a link keeps."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Locator, Page, WebSocket, expect
from scipy import ndimage

from benchmarks.serving import settled
from dashboard.volumes import LETTERS
from datasets.manifest import ScanRecord, read_manifest
from datasets.preprocess import spread
from datasets.settings import SIZE
from datasets.shards import SliceColumns, read_slices
from datasets.storage import Storage
from study.report.choice import best_rows
from tests.dashboard.browsing import Served, address_of, tab
from tests.dashboard.viewing import (
    crosshair_of,
    drawn,
    open_viewer,
    pictures_of,
    plane_of,
    until_told,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def _place(viewer: Locator) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The scan's voxel and the mm (to the right, anterior, superior) that the page tells."""
    text = viewer.locator(".place").inner_text()
    found = re.match(r"Voxel (-?\d+), (-?\d+), (-?\d+) of the scan · (.*?) · ", text)
    assert found, text
    words = [part.split(" mm ") for part in found[4].split(", ")]
    signs = {"right": 1, "anterior": 1, "superior": 1, "left": -1, "posterior": -1, "inferior": -1}
    mm = tuple(float(value) * signs[word] for value, word in words)
    return tuple(int(v) for v in found.groups()[:3]), mm


def _scan(smoke: Served, viewer: Locator) -> tuple[ScanRecord, SliceColumns]:
    """The scan that is shown."""
    name = (viewer.get_attribute("aria-label") or "").removeprefix("Scan ")
    store = Storage.open(str(smoke.store))
    record = smoke.study.study()
    assert record is not None
    key = next(c.key for c in record.cohorts if (c.name, c.modality) == ("atlas", "T1w"))
    manifest = read_manifest(store, key)
    assert manifest is not None
    scan = next(r for r in manifest.records if f"{r.cohort}/{r.subject}" == name)
    return scan, read_slices(store, scan)


def _masks(bits_NK: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.unpackbits(bits_NK, axis=1).reshape(-1, SIZE, SIZE).astype(bool)


def test_ten_presses_move_ten_slices_of_both_sides_and_the_server_hears_nothing(
    fresh_page: Page, smoke: Served
) -> None:
    page = fresh_page
    sent: list[object] = []

    def opened(socket: WebSocket) -> None:
        socket.on("framesent", lambda payload: sent.append(payload))

    page.on("websocket", opened)
    viewer = open_viewer(page, smoke)
    x, y, z = crosshair_of(viewer)
    right = plane_of(viewer, "axial", 1)
    right.focus()
    assert sent
    sent.clear()
    for key, steps in (("ArrowUp", 10), ("PageDown", -10), ("PageUp", 10), ("ArrowDown", -10)):
        before = crosshair_of(viewer)
        for _ in range(10):
            page.keyboard.press(key)
        z = before[2] + steps
        expect(viewer).to_have_attribute("data-at", f"{x},{y},{z}")
    first = int(right.get_attribute("aria-valuemin") or "")
    for side in (0, 1):
        plane = plane_of(viewer, "axial", side)
        expect(plane).to_have_attribute("aria-valuenow", str(first + z))
    box = right.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    for _ in range(3):
        page.mouse.wheel(0, -100)
    expect(viewer).to_have_attribute("data-at", f"{x},{y},{z + 3}")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.up()
    expect(viewer).to_have_attribute("data-at", f"{SIZE // 2},{SIZE // 2 - 1},{z + 3}")
    until_told(page)
    assert sent == []


def test_link_shows_the_same_in_a_fresh_browser(
    page: Page, browser: Browser, smoke: Served
) -> None:
    viewer = open_viewer(page, smoke, **{"left-second": "squared error (SE)"})
    usual = pictures_of(viewer)
    viewer.get_by_label("Exact threshold, normalised error").fill("0.31")
    viewer.get_by_label("Opacity, outlier sum").fill("85")
    viewer.get_by_label("Colours, squared error").select_option("red")
    viewer.get_by_label("White").fill("1.9")
    viewer.get_by_label("Radiological").check()
    viewer.get_by_label("Outline").uncheck()
    plane_of(viewer, "coronal").click(position={"x": 90, "y": 60})
    until_told(page)
    expect(page).to_have_url(re.compile("0.31"))
    shown = pictures_of(viewer)
    assert all(a != b for a, b in zip(usual, shown, strict=True))
    with tab(browser) as other:
        other.goto(page.url)
        fresh = drawn(other)
        expect(fresh).to_have_attribute("data-at", viewer.get_attribute("data-at") or "")
        expect(fresh.get_by_label("Exact threshold, normalised error")).to_have_value("0.31")
        assert pictures_of(fresh) == shown
        until_told(other)
        assert address_of(other)["view"] == address_of(page)["view"]
        fresh.get_by_role("button", name="Reset").click()
        expect(fresh.get_by_label("Opacity, outlier sum")).to_have_value("60")
        assert pictures_of(fresh) == usual


def test_a_click_beside_a_letter_moves_to_that_side_of_the_patient(
    page: Page, smoke: Served
) -> None:
    viewer = open_viewer(page, smoke)
    axis_of = {letter: axis for axis, ends in enumerate(LETTERS) for letter in ends}
    for convention, left in (("Neurological", "L"), ("Radiological", "R")):
        viewer.get_by_label(convention).check()
        shown = {}
        for name in ("axial", "coronal", "sagittal"):
            plane = plane_of(viewer, name)
            box = plane.bounding_box()
            assert box is not None
            w, h = box["width"], box["height"]
            ends = {"left": (12, h / 2), "right": (w - 12, h / 2)}
            ends |= {"top": (w / 2, 12), "bottom": (w / 2, h - 12)}
            for edge, (x, y) in ends.items():
                plane.click(position={"x": w / 2, "y": h / 2})
                before = _settled_place(viewer)
                plane.click(position={"x": x, "y": y})
                moved = np.subtract(_settled_place(viewer), before)
                letter = plane.locator(f"xpath=../span[@data-edge='{edge}']").inner_text()
                axis = axis_of[letter]
                assert (moved[axis] > 0) == (letter in "RAS"), (name, edge, letter)
                assert np.abs(np.delete(moved, axis)).max() <= 2.5, (name, edge)  # a pixel at most
                shown[name, edge] = letter
        assert (shown["axial", "left"], shown["coronal", "left"]) == (left, left)
        assert (shown["axial", "top"], shown["sagittal", "left"]) == ("A", "A")
        assert (shown["coronal", "top"], shown["sagittal", "top"]) == ("S", "S")


def _settled_place(viewer: Locator) -> tuple[float, ...]:
    pictures_of(viewer)
    return _place(viewer)[1]


def test_what_is_drawn_at_a_point_is_what_is_told_of_it(page: Page, smoke: Served) -> None:
    """The grey that a plane has at a point is the image's value there, also when mirrored."""
    viewer = open_viewer(page, smoke, right="none")
    viewer.get_by_label("Outline").uncheck()
    viewer.get_by_label("Opacity, normalised error").fill("0")
    viewer.get_by_label("White").fill("1.3")
    white = float(viewer.get_by_label("White").input_value())  # as its steps have it
    grey_at = """(canvas, [x, y]) => {
        const context = canvas.getContext('2d');
        return context.getImageData(x * canvas.width, y * canvas.height, 1, 1).data[0];
    }"""
    ends = [plane_of(viewer, "axial").get_attribute(f"aria-value{end}") for end in ("min", "max")]
    n_planes = int(ends[1] or "") - int(ends[0] or "") + 1
    seen = set()
    for convention in ("Neurological", "Radiological"):
        viewer.get_by_label(convention).check()
        for name in ("axial", "coronal", "sagittal"):
            plane = plane_of(viewer, name)
            box = plane.bounding_box()
            assert box is not None
            rows = SIZE if name == "axial" else n_planes
            for column, share in ((39, 0.36), (81, 0.41), (55, 0.63)):
                # The middle of a pixel, since the mouse is at whole pixels of the screen.
                x, y = (column + 0.5) / SIZE, (int(share * rows) + 0.5) / rows
                plane.click(position={"x": x * box["width"], "y": y * box["height"]})
                pictures_of(viewer)
                told = re.search(r"image ([-0-9.]+)", viewer.locator(".place").inner_text())
                grey = plane.evaluate(grey_at, [x, y])
                expected = 255 * float(told[1]) / white if told else 0  # outside the brain
                assert grey == pytest.approx(min(expected, 255), abs=2), (convention, name, x, y)
                seen.add(grey)
    assert len(seen) > 6


def test_largest_lesion_is_where_the_scan_has_it(page: Page, smoke: Served) -> None:
    viewer = open_viewer(page, smoke)
    plane = plane_of(viewer, "sagittal")
    plane.focus()
    page.keyboard.press("Home")
    expect(plane).to_have_attribute("aria-valuenow", "0")
    viewer.get_by_role("button", name="Largest lesion").click()
    expect(viewer.locator(".place")).to_contain_text("in the lesion")
    voxel, mm = _place(viewer)
    scan, slices = _scan(smoke, viewer)
    where = (slices.slice_index_N, slices.geometry)
    lesion_XYZ = spread(_masks(slices.lesion_bits_NK), *where)
    pieces, _ = ndimage.label(lesion_XYZ, structure=np.ones((3, 3, 3)))
    largest = np.bincount(pieces.reshape(-1))[1:].argmax() + 1
    assert pieces[voxel] == largest
    affine = np.reshape(slices.geometry.affine, (4, 4))
    np.testing.assert_allclose(
        mm, (affine @ [*voxel, 1])[:3], atol=max(scan.spacing_mm or (0,)) / 2 + 0.1
    )
    with_lesion = np.flatnonzero(_masks(slices.lesion_bits_NK).any(axis=(1, 2)))
    indices = slices.slice_index_N[with_lesion].tolist()
    axial = plane_of(viewer, "axial")
    here = int(axial.get_attribute("aria-valuenow") or "")
    viewer.get_by_role("button", name="Next lesion slice").click()
    above = [i for i in indices if i > here]
    expect(axial).to_have_attribute("aria-valuenow", str(above[0] if above else indices[0]))


def test_values_at_the_crosshair_are_those_of_the_trials(
    page: Page, smoke: Served, report: dict[str, Any]
) -> None:
    import safetensors.numpy

    viewer = open_viewer(page, smoke)
    x, y, _ = crosshair_of(viewer)
    axial = plane_of(viewer, "axial")
    index = int(axial.get_attribute("aria-valuenow") or "")
    _, slices = _scan(smoke, viewer)
    at = int(np.flatnonzero(slices.slice_index_N == index)[0])
    image = slices.images_NHW[at : at + 1].astype(np.float32)
    brain = _masks(slices.brain_bits_NK[at : at + 1])
    told = {}
    for side, (model, score) in enumerate((("vae", "normalized_error"), ("gmm", "outlier_sum"))):
        place = {"model": model, "score": score, "region": "brain"}
        place |= {"cohort": "atlas", "modality": "T1w"}
        rows = [r for r in report["rows"] if all(r[k] == v for k, v in place.items())]
        trial = smoke.study.trial(best_rows(rows, "auc")[0]["trial_id"])
        fit = trial.fit()
        assert fit is not None
        detector = fit.spec.detector()
        detector.load_state(safetensors.numpy.load(trial.read_part(fit, "model.safetensors")))
        map_HW = detector.score(image.copy(), brain.copy())[score][0]
        told[score] = float(viewer.locator(".side").nth(side).locator(".value").inner_text())
        assert told[score] == pytest.approx(float(map_HW[SIZE - 1 - y, x]), rel=0.006)
    intensity = re.search(r"image ([0-9.]+),", axial.get_attribute("aria-valuetext") or "")
    assert intensity
    assert float(intensity[1]) == pytest.approx(float(image[0, SIZE - 1 - y, x]), rel=0.006)
    assert len(set(told.values())) == 2


def test_pixels_below_the_threshold_are_clear(page: Page, smoke: Served) -> None:
    viewer = open_viewer(page, smoke, right="none")
    threshold = viewer.get_by_label("Exact threshold, normalised error")
    opacity = viewer.get_by_label("Opacity, normalised error")
    threshold.fill("")
    everything = pictures_of(viewer)
    threshold.fill("1e30")
    nothing = pictures_of(viewer)
    threshold.fill("")
    opacity.fill("0")
    assert pictures_of(viewer) == nothing
    assert all(a != b for a, b in zip(everything, nothing, strict=True))


def test_everything_is_reached_with_the_keyboard(page: Page, smoke: Served) -> None:
    viewer = open_viewer(page, smoke, right="none")
    viewer.get_by_role("button", name="Largest lesion").focus()
    names = []
    script = """() => {
        let found = document.activeElement;
        while (found.shadowRoot) found = found.shadowRoot.activeElement;
        const label = found.getAttribute('aria-label') ?? found.closest('label')?.innerText;
        return (label ?? found.innerText).trim().replace(/\\s.*\\d$/, '');
    }"""
    for _ in range(18):
        names.append(page.evaluate(script))
        page.keyboard.press("Tab")
    assert all(names)
    planes = [name for name in names if " plane" in name]
    assert [name.partition(" ")[0] for name in planes] == ["Axial", "Coronal", "Sagittal"]
    for wanted in ("Previous lesion slice", "Outline", "Neurological", "Black", "White", "Reset"):
        assert wanted in names
    assert [n.partition(",")[0] for n in names[-4:]] == [
        "Threshold",
        "Exact threshold",
        "Opacity",
        "Colours",
    ]
    before = viewer.get_by_label("Exact threshold, normalised error").input_value()
    viewer.get_by_label("Threshold, normalised error").first.focus()
    page.keyboard.press("ArrowRight")
    expect(viewer.get_by_label("Exact threshold, normalised error")).not_to_have_value(before)


def test_an_address_with_nonsense_shows_the_usual_view(page: Page, smoke: Served) -> None:
    nonsense = "at*x*1_<script>alert(1)</script>_s*__proto__*NaN*-4*red_win*9*1_at*q*1*2*3_%00"
    page.goto(f"{smoke.url}/viewer?{urlencode({'viewer.cohort': 'atlas T1w', 'view': nonsense})}")
    viewer = drawn(page)
    expect(viewer.locator(".place")).to_contain_text("in the lesion")
    until_told(page)
    assert re.fullmatch(r"at\*[0-9a-f]{8}\*\d+\*\d+\*\d+", address_of(page)["view"])


def test_another_scan_begins_in_its_own_lesion_and_keeps_the_look(
    page: Page, smoke: Served
) -> None:
    viewer = open_viewer(page, smoke)
    viewer.get_by_label("Radiological").check()
    viewer.get_by_label("Opacity, outlier sum").fill("30")
    plane = plane_of(viewer, "sagittal")
    plane.focus()
    page.keyboard.press("Home")
    expect(plane).to_have_attribute("aria-valuenow", "0")
    until_told(page)
    first = address_of(page)["view"]
    name = viewer.get_attribute("aria-label") or ""
    _choose(page, 1)
    expect(viewer).not_to_have_attribute("aria-label", name)
    expect(viewer.locator(".place")).to_contain_text("in the lesion")
    expect(viewer.get_by_label("Radiological")).to_be_checked()
    expect(viewer.get_by_label("Opacity, outlier sum")).to_have_value("30")
    until_told(page)
    assert address_of(page)["view"].split("*")[1] != first.split("*")[1]
    # Where it was left is where the first scan is seen again.
    _choose(page, 0)
    expect(plane).to_have_attribute("aria-valuenow", "0")


def _choose(page: Page, number: int) -> None:
    settled(page)
    box = page.get_by_role("combobox", name="Subject")
    box.scroll_into_view_if_needed()
    pictures_of(page.locator(".viewer"))  # a list closes when what is around it scrolls
    box.click()
    page.get_by_role("option").filter(has_text="atlas/").nth(number).click()


def test_scores_that_are_not_finite_are_clear_and_told(
    page: Page, smoke_store: Path, served: Callable[[Path], Any], tmp_path: Path
) -> None:
    import safetensors.numpy

    for name in ("studies", "shards"):
        shutil.copytree(smoke_store / name, tmp_path / name)
    copy = Served(served(tmp_path).url, tmp_path)
    record = copy.study.study()
    assert record is not None
    for planned in record.trials:
        trial = copy.study.trial(planned.trial_id)
        fit = trial.fit()
        if fit is None or fit.spec.model != "ae":
            continue
        weights = safetensors.numpy.load(trial.read_part(fit, "model.safetensors"))
        broken = {
            name: np.full_like(array, np.nan) if array.dtype.kind == "f" else array
            for name, array in weights.items()
        }
        part = trial.attempt().put("model.safetensors", safetensors.numpy.save(broken))
        trial.write_fit(fit.model_copy(update={"parts": {**fit.parts, "model.safetensors": part}}))
    viewer = open_viewer(page, copy, left="ae:squared_error", right="none")
    expect(viewer.locator(".value")).to_have_text("not finite")
    opaque = pictures_of(viewer)
    viewer.get_by_label("Opacity, squared error").fill("0")
    assert pictures_of(viewer) == opaque
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
