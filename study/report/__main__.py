"""``python -m study.report``."""

from study import cli
from study.report.command import app

if __name__ == "__main__":
    cli.run(app)
