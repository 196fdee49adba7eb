"""The phantom's three cohorts: how their heads, grids, names and axes differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from datasets.phantom.anatomy import Pose
from datasets.phantom.contrast import Scanner
from datasets.phantom.fields import SamplingGrid
from datasets.scan import Modality

LayoutName = Literal["ixi", "atlas", "brats"]
Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

HIGH_GRADE_OF_FOUR = 3
"""Of each four BraTS subjects, how many have a glioma of high grade."""


@dataclass(frozen=True)
class FieldOfView:
    """How a cohort scans one modality.

    Attributes:
        box_mm: Field of view along right, anterior, superior.
        axes: Directions in which the file stores its three axes.
        stretch: Voxel size relative to the options' in-plane, in-plane and slice size.
    """

    box_mm: Box
    axes: str
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def grid(self, in_plane_mm: float, slice_mm: float) -> SamplingGrid:
        """The grid at a voxel size."""
        x, y, z = self.stretch
        return SamplingGrid.covering(self.box_mm, (x * in_plane_mm, y * in_plane_mm, z * slice_mm))


@dataclass(frozen=True)
class Layout:
    """A cohort.

    Attributes:
        number: Distinguishes the cohorts' random numbers.
        views: What can be scanned; which of it is, is told by the options.
        pose: Sizes and positions of heads.
        scanner: Intensities.
        stripped: Whether it is distributed without skull.
        defaced: Whether the face is blanked.
        tilt_deg: Standard deviation of the angle between the scanner's axes and the file's.
    """

    number: int
    views: dict[Modality, FieldOfView]
    pose: Pose
    scanner: Scanner = field(default_factory=Scanner)
    stripped: bool = False
    defaced: bool = False
    tilt_deg: float = 0.0


LAYOUTS: dict[LayoutName, Layout] = {
    "ixi": Layout(
        number=1,
        views={
            "T1w": FieldOfView(((-92, 92), (-126, 106), (-125, 100)), "PSR", (1.1, 1.0, 1.0)),
            "T2w": FieldOfView(((-90, 90), (-124, 104), (-90, 97)), "LPS"),
            "FLAIR": FieldOfView(((-90, 90), (-124, 104), (-90, 97)), "LPS"),
        },
        pose=Pose(scale=0.93, scale_sd=0.03, turn_deg=2.5, shift_mm=2.0),
        tilt_deg=1.5,
    ),
    "atlas": Layout(
        number=2,
        views={"T1w": FieldOfView(((-98, 98), (-134, 98), (-72, 116)), "LAS")},
        pose=Pose(scale=0.98, scale_sd=0.02, turn_deg=1.2, shift_mm=1.0),
        scanner=Scanner(gain=450.0, jitter=0.065, bias_sd=0.06, noise=0.033),
        defaced=True,
    ),
    "brats": Layout(
        number=3,
        views={
            "T1w": FieldOfView(((-84, 84), (-118, 86), (-78, 94)), "LPS"),
            "T2w": FieldOfView(((-84, 84), (-118, 86), (-78, 94)), "LPS"),
            "FLAIR": FieldOfView(((-84, 84), (-118, 86), (-78, 94)), "LPS"),
        },
        pose=Pose(scale=0.95, scale_sd=0.025, turn_deg=1.5, shift_mm=1.0),
        scanner=Scanner(gain=550.0, jitter=0.065, bias_sd=0.05, noise=0.028),
        stripped=True,
    ),
}


def is_high_grade(index: int) -> bool:
    """Whether a BraTS subject's glioma is of high grade."""
    return index % 4 < HIGH_GRADE_OF_FOUR


def image_path(layout: LayoutName, index: int, modality: Modality) -> str:
    """Where a subject's scan lies below the root, in the layout's own naming."""
    number = index + 1
    if layout == "ixi":
        kind = modality.removesuffix("w")
        return f"IXI-{kind}/IXI{number:03d}-Phantom-{number:04d}-{kind}.nii.gz"
    if layout == "atlas":
        return f"{_atlas_stem(index)}_t1w_deface_stx.nii.gz"
    return f"{_brats_stem(index)}_{modality.removesuffix('w').lower()}.nii.gz"


def lesion_path(layout: LayoutName, index: int, lesion: int) -> str:
    """Where the mask of a subject's n-th lesion lies; BraTS has one file for all labels."""
    if layout == "brats":
        return f"{_brats_stem(index)}_seg.nii.gz"
    suffix = f"_{lesion}" if lesion else ""
    return f"{_atlas_stem(index)}_LesionSmooth{suffix}_stx.nii.gz"


def truth_path(image: str) -> str:
    """Where the true brain mask of an image lies: below ``truth``, where no source looks."""
    name = image.rsplit("/", 1)[-1].removesuffix(".nii.gz")
    return f"truth/{name}_brainmask.nii.gz"


def _atlas_stem(index: int) -> str:
    site, number = divmod(index, 20)
    name = f"c{site + 1:04d}s{number + 1:04d}t01"
    return f"c{site + 1:04d}/{name}/{name}"


def _brats_stem(index: int) -> str:
    case = f"Brats_Phantom_{index + 1:03d}_1"
    return f"{'HGG' if is_high_grade(index) else 'LGG'}/{case}/{case}"
