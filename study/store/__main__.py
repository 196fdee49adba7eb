"""``python -m study.store``."""

from study import cli
from study.store.command import app

if __name__ == "__main__":
    cli.run(app)
