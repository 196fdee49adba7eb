"""``python -m study.report``."""

from study.interrupts import told

if __name__ == "__main__":
    with told():
        from study import cli
        from study.report.command import app

        cli.run(app)
