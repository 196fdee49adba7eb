"""``python -m study.run``."""

from study import cli
from study.run.command import app

if __name__ == "__main__":
    cli.run(app)
