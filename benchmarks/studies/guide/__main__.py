"""Run the study of guided generation: `mova bench guide`."""

from benchmarks.studies.guide.study import main

if __name__ == "__main__":
    main()
