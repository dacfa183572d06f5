"""`python -m mova`: the `mova` command, run by a given interpreter."""

from mova.cli.entry import run

if __name__ == "__main__":
    run()
