"""What the processes of `run_processes` need and takes seconds to import; garbage collection leaves it alone."""

import gc

import pytest  # noqa: F401
import torch.distributed.checkpoint
import torch.distributed.fsdp
import torch.profiler  # noqa: F401

import mova.models.mova.model
import mova.models.two_tower.model
import mova.models.video_llm.model
import mova.train.run
import mova.train.sources.pairs
import mova.train.trainer
import mova.train.validation  # noqa: F401

gc.freeze()
