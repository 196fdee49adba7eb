"""``python -m study.submit``."""

from study import cli
from study.submit.command import app

if __name__ == "__main__":
    cli.run(app)
