"""Run the study of scaling: `mova bench scaling`."""

from benchmarks.studies.scaling.study import main

if __name__ == "__main__":
    main()
