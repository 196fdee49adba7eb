"""Pages: everything is on them, they are well formed, and need nothing but themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving import chromium
from datasets.manifest import CohortManifest, ScanRecord
from datasets.scan import Role, Skipped
from datasets.settings import PREPROCESS_VERSION, PreprocessSettings
from datasets.shards import process_scan, read_slices
from datasets.storage import Storage
from study.prepare.cohorts import Cohort
from study.prepare.histogram import histogram
from study.prepare.listing import CohortListing
from study.prepare.outlines import draw_scan, outline
from study.prepare.page import write_reports

VOID = {"input", "meta", "br", "image", "path", "rect", "line"}


class Page(HTMLParser):
    """Checks that tags are closed in order; collects text and what would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "a":
            self.loaded += [v for k, v in attrs if k in ("src", "href") and v is not None]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def records(tmp_path: Path, head: Callable[..., Path], store: Storage) -> tuple[ScanRecord, ...]:
    """Two stroke heads and one that cannot be read, prepared."""
    from study.prepare.cohorts import read_cohorts
    from study.prepare.listing import survey

    for subject in ("one", "two", "bad"):
        head(tmp_path / "scans", subject, lesion=True)
    (tmp_path / "scans" / "sub-bad" / "anat" / "sub-bad_T1w.nii.gz").write_bytes(b"x")
    path = tmp_path / "cohorts.toml"
    path.write_text('[cohorts.stroke]\nsource = "bids"\nroot = "scans"\nrole = "test"\n')
    settings = PreprocessSettings()
    (listing,) = survey(read_cohorts(path), store, settings)
    return tuple(
        process_scan(t.scan, t.cohort, t.role, settings, t.key, store) for t in listing.tasks
    )


def _listing(
    records: tuple[ScanRecord, ...], skipped: tuple[Skipped, ...] = (), source: str = "bids"
) -> CohortListing:
    cohort = Cohort(name="stroke", source=source, root=Path("scans"), role="test")
    manifest = CohortManifest(
        key="k",
        cohort="stroke",
        modality="T1w",
        role="test",
        source=source,
        synthetic=cohort.synthetic,
        settings=PreprocessSettings(),
        preprocess_version=PREPROCESS_VERSION,
        records=records,
    )
    return CohortListing(cohort, "T1w", "k", (), skipped, len(records), manifest)


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("train", "healthy, for training"),
        ("test", "with lesions, for testing"),
        ("healthy", "healthy, for false alarms, never trained on"),
    ],
)
def test_a_page_says_what_its_cohort_is_for(
    records: tuple[ScanRecord, ...], store: Storage, tmp_path: Path, role: Role, words: str
) -> None:
    listing = _listing(records)
    listing = replace(listing, cohort=listing.cohort.model_copy(update={"role": role}))
    assert f'<p class="sub">{words} ·' in _page(listing, store, tmp_path)


def _page(listing: CohortListing, store: Storage, folder: Path) -> str:
    (path,) = write_reports([listing], store, folder)
    return path.read_text(encoding="utf-8")


def test_every_scan_file_and_reason_is_on_the_page(
    records: tuple[ScanRecord, ...], store: Storage, tmp_path: Path
) -> None:
    skipped = (Skipped(Path(f"scans/odd_{i}.nii"), "hidden file") for i in range(40))
    page = Page(_page(_listing(records, tuple(skipped)), store, tmp_path))
    for subject in ("one", "two", "bad"):
        assert subject in page.text
    bad = next(r for r in records if r.status == "quarantined")
    assert bad.reason in page.text
    assert bad.image in page.text
    assert all(f"scans/odd_{i}.nii" in page.text for i in range(40))
    assert page.tags.count("figure") == 2
    assert "recognised as already stripped (2)" in page.text
    assert "lesion 26.2 ml" in page.text


def test_a_page_needs_nothing_but_itself(
    records: tuple[ScanRecord, ...], store: Storage, tmp_path: Path
) -> None:
    text = _page(_listing(records), store, tmp_path)
    page = Page(text)
    assert page.tags.count("script") == 1  # the one that sorts
    assert len(page.loaded) == 4
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.loaded)
    assert "http:" not in text
    assert "https:" not in text


@pytest.mark.browser
def test_scans_are_sorted_and_found_by_words(
    records: tuple[ScanRecord, ...], store: Storage, tmp_path: Path
) -> None:
    volumes = {"one": 3.0, "two": 6987.4}
    changed = tuple(
        r.model_copy(update={"lesion_volume_ml": volumes.get(r.subject)}) for r in records
    )
    path = tmp_path / "page.html"
    path.write_text(_page(_listing(changed), store, tmp_path), encoding="utf-8")
    with chromium() as browser:
        page = browser.new_page(color_scheme="dark")
        page.goto(path.as_uri())
        names = page.locator("figure:visible figcaption b")
        assert names.all_inner_texts() == ["one", "two"]
        page.get_by_label("Order").select_option("largest lesion first")
        assert names.all_inner_texts() == ["two", "one"]
        page.get_by_label("Name or fact").fill("LESION 6,987")
        assert names.all_inner_texts() == ["two"]
        assert page.locator("output").inner_text() == "1 of 2 shown"
        assert page.get_by_role("img", name="two, T1w").count() == 1
        ground = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(ground) == "rgb(17, 22, 28)"


def test_names_from_files_are_escaped(
    records: tuple[ScanRecord, ...], store: Storage, tmp_path: Path
) -> None:
    evil = "<script>alert('x')</script>&\"\udc80"
    changed = tuple(
        r.model_copy(
            update={
                "subject": evil,
                "image": evil,
                "reason": evil if r.reason else "",
                "notes": (evil,),
                "brain_tool": evil,
            }
        )
        for r in records
    )
    listing = _listing(changed, (Skipped(Path(evil), evil),))
    page = Page(_page(listing, store, tmp_path))
    assert page.tags.count("script") == 1  # the one that sorts
    assert page.text.count("<script>alert('x')</script>&\"") >= 10


def test_a_phantom_is_called_synthetic_and_nothing_else_is(
    records: tuple[ScanRecord, ...], store: Storage, tmp_path: Path
) -> None:
    words = "Synthetic phantom."
    assert words in _page(_listing(records, source="phantom"), store, tmp_path)
    assert words not in _page(_listing(records), store, tmp_path)


def test_a_lesion_that_was_cut_away_is_marked(
    records: tuple[ScanRecord, ...], store: Storage, tmp_path: Path
) -> None:
    lost = tuple(
        r.model_copy(update={"lesion_outside_brain_share": 0.25}) if r.subject == "two" else r
        for r in records
    )
    text = _page(_listing(lost), store, tmp_path)
    assert text.count('<figure class="flag"') == 1
    assert "<em>25.0% outside the brain</em>" in text
    assert "12.50% of all lesion voxels lie outside the brain" in text


@pytest.mark.parametrize(
    ("field", "share", "words"),
    [
        ("lesion_lost_by_resizing_share", 0.136, "<em>resizing took 13.6%</em>"),
        ("lesion_lost_by_resizing_share", -0.2, "<em>resizing added 20.0%</em>"),
        ("lesion_in_dropped_slices_share", 0.25, "<em>25.0% in slices left out</em>"),
    ],
)
def test_a_lesion_that_slices_do_not_show_is_marked(
    records: tuple[ScanRecord, ...],
    store: Storage,
    tmp_path: Path,
    field: str,
    share: float,
    words: str,
) -> None:
    lost = tuple(r.model_copy(update={field: share}) if r.subject == "two" else r for r in records)
    text = _page(_listing(lost), store, tmp_path)
    assert text.count('<figure class="flag"') == 1
    assert words in text
    assert "In 1 scans one of the two is more than 10%" in text


def test_records_from_before_losses_were_measured_have_a_page_without_them(
    records: tuple[ScanRecord, ...], store: Storage, tmp_path: Path
) -> None:
    fields = ("lesion_lost_by_resizing_share", "lesion_in_dropped_slices_share")
    old = tuple(r.model_copy(update=dict.fromkeys(fields)) for r in records)
    text = _page(_listing(old), store, tmp_path)
    assert "outside the brain" in text
    assert "esizing" not in text


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "none"), (0.0004, "under 0.1%"), (0.004, "0.4%")],
)
def test_how_much_of_a_lesion_lies_outside_is_told_of_every_scan(
    records: tuple[ScanRecord, ...], store: Storage, tmp_path: Path, share: float, words: str
) -> None:
    some = tuple(
        r.model_copy(update={"lesion_outside_brain_share": share}) if r.status == "ok" else r
        for r in records
    )
    text = _page(_listing(some), store, tmp_path)
    assert text.count(f"· {words} outside the brain") == 2
    assert 'class="flag"' not in text


def test_a_cohort_without_one_usable_scan_has_a_page(
    records: tuple[ScanRecord, ...], store: Storage, tmp_path: Path
) -> None:
    bad = tuple(r for r in records if r.status == "quarantined")
    page = Page(_page(_listing(bad), store, tmp_path))
    assert "No scan can be used." in page.text
    assert bad[0].reason in page.text


def test_pictures_show_the_slice_with_most_lesion_anterior_up_and_left_left(
    records: tuple[ScanRecord, ...], store: Storage
) -> None:
    columns = read_slices(store, next(r for r in records if r.subject == "one"))
    pictures = draw_scan(columns)
    counts = np.unpackbits(columns.lesion_bits_NK, axis=1).sum(axis=1)
    chosen = np.flatnonzero(columns.slice_index_N == pictures.slice_index)[0]
    assert counts[chosen] == counts.max() > 0
    places = {}
    for part in pictures.axial.split("<text ")[1:]:
        fields = part.split('"')
        places[part.split(">")[1][0]] = (float(fields[1]), float(fields[3]))
    assert places["A"][1] < 0 < 128 < places["P"][1]
    assert places["L"][0] < 0 < 128 < places["R"][0]
    assert [letter in pictures.sagittal for letter in (">S<", ">I<")] == [True, True]


@pytest.mark.parametrize("seed", range(5))
def test_an_outline_separates_exactly_inside_from_outside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((9, 13)) < 0.5
    upright = np.zeros((9, 14), dtype=int)
    level = np.zeros((10, 13), dtype=int)
    for step in outline(mask).split("M")[1:]:
        kind = "v" if "v" in step else "h"
        place, length = step.split(kind)
        x, y = map(int, place.split())
        if kind == "v":
            upright[y : y + int(length), x] += 1
        else:
            level[y, x : x + int(length)] += 1
    # Crossing a border changes side, so the number of borders crossed from outside tells it.
    assert np.array_equal(upright.cumsum(axis=1)[:, :-1] % 2 == 1, mask)
    assert np.array_equal(level.cumsum(axis=0)[:-1] % 2 == 1, mask)
    assert upright.max() <= 1
    assert level.max() <= 1


@pytest.mark.parametrize("values", [[1200.0], [1200.0, 1200.0], [900.0, 1400.0, 1401.0]])
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    titles = [t.split(" from ")[0] for t in histogram(values, "Brain volumes").split("<title>")[1:]]
    assert sum(map(int, titles)) == len(values)
