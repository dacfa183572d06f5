"""Training settings of test recipes: two steps in the process of the test, in float32, without reports to services."""

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
