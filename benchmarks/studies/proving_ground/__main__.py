"""Run the proving ground: `mova bench proving_ground`."""

import sys

import torch

from benchmarks.studies.proving_ground.study import main

if __name__ == "__main__":
    if "--quick" in sys.argv:
        torch.manual_seed(0)
    main()
