"""``python -m study.export``."""

from study.interrupts import told

if __name__ == "__main__":
    with told():
        from study import cli
        from study.export.command import app

        cli.run(app)
