"""The winner of a study on any scan: score maps in the scan's own voxels."""
