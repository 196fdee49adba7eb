"""``python -m study.store``."""

from study.interrupts import told

if __name__ == "__main__":
    with told():
        from study import cli
        from study.store.command import app

        cli.run(app)
