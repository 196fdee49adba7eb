"""``python -m study.prepare``."""

from study.interrupts import told

if __name__ == "__main__":
    with told():
        from study import cli
        from study.prepare.command import app

        cli.run(app)
