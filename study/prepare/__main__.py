"""``python -m study.prepare``."""

from study import cli
from study.prepare.command import app

if __name__ == "__main__":
    cli.run(app)
