"""How the recipes of tests train: two steps in the process of the test, in float32, with nothing told to anybody."""

from __future__ import annotations

from typing import Any

TRAINING: dict[str, Any] = {
    "max_steps": 2,
    "logging_steps": 1,
    "save_steps": 2,
    "per_device_train_batch_size": 3,
    "learning_rate": 1e-3,
    "bf16": False,
    "report_to": [],
}
