"""``python -m study.apply``."""

from study.interrupts import told

if __name__ == "__main__":
    with told():
        from study import cli
        from study.apply.command import app

        cli.run(app)
