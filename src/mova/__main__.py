"""`python -m mova`: the same as `mova`, by the interpreter that is named."""

from mova.cli.main import run

if __name__ == "__main__":
    run()
