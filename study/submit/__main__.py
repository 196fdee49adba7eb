"""``python -m study.submit``."""

from study.interrupts import told

if __name__ == "__main__":
    with told():
        from study import cli
        from study.submit.command import app

        cli.run(app)
