"""What runs for every visitor: the frame, and in it the page that the address names.

Every page shows the study that is picked in the row on top, which is drawn before it. Pages are
files below ``views/``; they only run when there is a study to show.
"""

from __future__ import annotations

from dashboard.frame import begin


def main() -> None:
    """Draw the frame and run the page that the address names."""
    with begin() as (page, frame):
        if frame is not None:
            page.run()


main()
