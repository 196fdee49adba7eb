"""``python -m study.run``."""

from study.interrupts import told

if __name__ == "__main__":
    with told():
        from study import cli
        from study.run.command import app

        cli.run(app)
