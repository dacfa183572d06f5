"""Logs of a run: lines of the past are kept, those of an abandoned future are dropped, broken videos reported once."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from mova.data.dataset import BrokenVideo
from mova.train.callbacks import BrokenVideos, JsonLines, installed_trackers


def state(step: int) -> SimpleNamespace:
    return SimpleNamespace(global_step=step, is_world_process_zero=True)


def test_resuming_drops_what_was_logged_after_the_checkpoint(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    for step in (1, 2, 3):
        log.on_log(None, state(step), None, logs={"loss": float(step)})
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')
    log.on_train_begin(None, state(2), None)
    log.on_log(None, state(3), None, logs={"loss": 9.0})
    assert [json.loads(line)["loss"] for line in log.path.read_text().splitlines()] == [1.0, 2.0, 9.0]
    log.on_train_begin(None, state(0), None)
    assert log.path.read_text() == ""


def test_only_the_main_process_writes_logs(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    log.on_log(None, SimpleNamespace(global_step=1, is_world_process_zero=False), None, logs={})
    assert not log.path.exists()


def test_a_broken_video_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = BrokenVideos(tmp_path / "broken.jsonl")
    first, second = BrokenVideo("a.mp4", "cut off"), BrokenVideo("b.mp4", "empty")
    for videos in ((), (first,), (first, second)):
        broken.add(videos)
    assert len(broken) == 2
    assert [json.loads(line) for line in broken.path.read_text().splitlines()] == [first.__dict__, second.__dict__]
    assert [record.message.split(":")[0] for record in caplog.records] == ["a.mp4", "b.mp4"]


def test_a_resumed_run_does_not_report_broken_videos_again(tmp_path: Path) -> None:
    first, second = BrokenVideo("a.mp4", "cut off"), BrokenVideo("b.mp4", "empty")
    BrokenVideos(tmp_path / "broken.jsonl").add((first,))
    with (tmp_path / "broken.jsonl").open("a") as file:
        file.write('{"path": "b.m')
    again = BrokenVideos(tmp_path / "broken.jsonl")
    assert len(again) == 1
    again.add((first, second))
    assert [json.loads(line) for line in again.path.read_text().splitlines()] == [first.__dict__, second.__dict__]


def test_tensorboard_is_used_if_installed_and_otherwise_a_warning_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert installed_trackers() == ["tensorboard"]
    assert not caplog.records
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert installed_trackers() == []
    assert "pip install 'mova[train]'" in caplog.text
