"""``make screenshots``: every page of the dashboard as PNG, light, dark and narrow.

The README's pictures are made from the phantom's study in the same run, with few colours, so that
they are small.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode

from benchmarks.serving import ServingError, chromium, serve, settled

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
NARROW_PX = 390
WIDE_PX = 1280
README = ("study", "best", "subjects", "viewer", "settings")
README_WIDTH_PX = 960
README_HEIGHT_PX = 1280


@dataclass(frozen=True)
class Look:
    """A way to look at the pages."""

    name: str
    theme: Literal["light", "dark"]
    width_px: int


LOOKS = (
    Look("light", "light", WIDE_PX),
    Look("dark", "dark", WIDE_PX),
    Look("narrow", "light", NARROW_PX),
)

PAGES = {
    "study": ("", "Study"),
    "best": ("best", "Best per data set"),
    "subjects": ("subjects", "Subjects"),
    "viewer": ("viewer", "Viewer"),
    "roc": ("roc", "ROC and precision-recall"),
    "heatmaps": ("heatmaps", "Heatmaps"),
    "grid": ("grid", "Grid"),
    "settings": ("settings", "Settings"),
    "trials": ("trials", "Trials"),
    "trial": ("trial", "Trial"),
    "compare": ("compare", "Compare"),
    "data": ("data", "Data"),
}

ADDRESSES = {"study": {"study.curves-on": "true"}}
"""What a picture shows besides a page's first view."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Take the pictures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screenshots", description=__doc__)
    parser.add_argument("--store", default="runs", help="store to look at (default: runs)")
    parser.add_argument("--study", help="study to look at (default: the one that moved last)")
    parser.add_argument("--out", type=Path, default=Path("screenshots"), help="folder to write to")
    parser.add_argument(
        "--readme", type=Path, help="folder for the README's pictures (default: none are made)"
    )
    read = parser.parse_args(arguments)
    from dashboard.data import find_studies  # loads Streamlit, which complains without a page

    listing = find_studies(read.store)
    study = read.study or next(iter(listing.studies), None)
    if study not in listing.studies:
        wrong = listing.problem or f"no study {study or ''!r} in the store {read.store!r}"
        sys.stderr.write(f"{wrong}; make one with: python -m study.run --grid smoke\n")
        return 2
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            serve(["--store", read.store], Path(folder) / "log") as server,
            chromium() as browser,
        ):
            for look in LOOKS:
                _take(browser, server.url, study, look, read.out, read.readme)
    except ServingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _take(
    browser: Browser, url: str, study: str, look: Look, out: Path, readme: Path | None
) -> None:
    size = {"width": look.width_px, "height": 900}
    context = browser.new_context(
        viewport={"width": size["width"], "height": size["height"]}, color_scheme=look.theme
    )
    context.set_default_timeout(120_000)
    page = context.new_page()
    for name, (path, heading) in PAGES.items():
        page.goto(f"{url}/{path}?{urlencode({'study': study, **ADDRESSES.get(name, {})})}")
        settled(page, heading)
        # The page scrolls inside its main part, so the window is made as high as that.
        script = "() => document.querySelector('[data-testid=stMain]').scrollHeight"
        height = min(max(int(page.evaluate(script)), 700), 3200)
        page.set_viewport_size({"width": look.width_px, "height": height})
        settled(page)
        picture = page.screenshot(animations="disabled")
        page.set_viewport_size({"width": look.width_px, "height": 900})
        _write(out / f"{name}-{look.name}.png", picture)
        if readme is not None and name in README and look.name == "light":
            _write(readme / f"{name}.png", _small(picture))
    context.close()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    sys.stdout.write(f"{path} ({len(data) / 1024:.0f} KiB)\n")


def _small(picture: bytes) -> bytes:
    """A picture, or its upper part, narrower and with 256 colours."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image = image.crop((0, 0, image.width, min(image.height, README_HEIGHT_PX)))
    height = round(image.height * README_WIDTH_PX / image.width)
    image = image.resize((README_WIDTH_PX, height), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    image.quantize(256, kmeans=1, dither=Image.Dither.NONE).save(sink, "PNG", optimize=True)
    return sink.getvalue()


if __name__ == "__main__":
    sys.exit(main())
