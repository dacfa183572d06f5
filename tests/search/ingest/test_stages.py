"""What a worker of a cluster does, without a cluster: windows as in one process, failures as messages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import mova
from mova.errors import ModelError
from mova.scoring.windows.rule import WindowRule
from mova.search.ingest.cluster import Arrivals
from mova.search.ingest.file_reader import Failed, FileTask, Known
from mova.search.ingest.plan import make_plan
from mova.search.ingest.stages import (
    Complete,
    Encoded,
    EncodeFile,
    EncodeWindow,
    Settings,
    Window,
    decode_file,
    pack,
    unpack,
)
from mova.search.ingest.writer import IndexWriter
from mova.search.storage.store import Store
from mova.utils.cluster import LOST, Attempts, Raised
from mova.utils.hashing import content_hash
from mova.worlds.writer import write_worlds

MODEL = "mova-worlds-tiny"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_worlds(folder, 1, 24, "flat", 77, size=64)
    return next(folder.glob("*.mp4"))


@pytest.fixture(scope="module")
def model() -> Any:
    return mova.load(MODEL, device="cpu")


def settings_of(model: Any, known: frozenset[str] = frozenset()) -> Settings:
    return Settings(MODEL, model.fingerprint(), model.frame_rate, model.context, True, 60.0, known)


def task_of(film: Path) -> FileTask:
    status = film.stat()
    return FileTask(str(film), status.st_size, status.st_mtime_ns)


def test_windows_of_a_worker_give_the_vectors_of_one_process(film: Path, model: Any) -> None:
    """The model reads neighbors of a frame: a window without them would give other vectors at its ends."""
    assert model.context > 0
    settings = settings_of(model)
    rows = list(decode_file(pack(task_of(film)), settings))
    assert sum(isinstance(unpack(row), Window) for row in rows) > 1
    encode = EncodeWindow(settings)
    messages = [unpack(encode(row)) for row in rows]
    complete = messages[-1]
    assert isinstance(complete, Complete)
    parts = [message for message in messages if isinstance(message, Encoded)]
    assert [part.number for part in parts] == list(range(complete.parts))
    whole = model.encode_video(film)
    np.testing.assert_array_equal(np.concatenate([one.part.times for one in parts]), whole.times)
    expected = torch.nn.functional.normalize(whole.frames, dim=1).numpy()
    np.testing.assert_allclose(np.concatenate([one.part.vectors for one in parts]), expected, atol=1e-5)


def test_a_worker_encodes_the_windows_of_a_file_as_one_process_does(film: Path, tiny_x_clip: Path) -> None:
    x_clip = mova.load(str(tiny_x_clip))
    rule = WindowRule(4, 1)
    settings = Settings(str(tiny_x_clip), x_clip.fingerprint(), 2.0, 0, True, 60.0, frozenset(), window=rule)
    *parts, complete = map(unpack, EncodeFile(settings)(pack(task_of(film))))
    assert isinstance(complete, Complete)
    assert [part.number for part in parts] == list(range(complete.parts))
    x_clip.window = rule
    whole = x_clip.encode_video(film, 2.0)
    np.testing.assert_array_equal(np.concatenate([one.part.windows for one in parts]), whole.windows)
    np.testing.assert_array_equal(np.concatenate([one.part.times for one in parts]), whole.times)
    expected = torch.nn.functional.normalize(whole.frames, dim=1).numpy()
    np.testing.assert_allclose(np.concatenate([one.part.vectors for one in parts]), expected, atol=1e-5)
    (message,) = map(unpack, EncodeFile(settings)(pack(replace(task_of(film), path="/gone.mp4"))))
    assert isinstance(message, Failed)


def test_a_file_whose_content_is_known_is_not_decoded(film: Path, model: Any) -> None:
    known = frozenset({content_hash(film)})
    (message,) = map(unpack, decode_file(pack(task_of(film)), settings_of(model, known)))
    assert isinstance(message, Known)


def test_a_broken_file_is_a_message(tmp_path: Path, film: Path, model: Any) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film" * 100)
    (message,) = map(unpack, decode_file(pack(task_of(broken)), settings_of(model)))
    assert isinstance(message, Failed)
    gone = replace(task_of(film), path=str(tmp_path / "gone.mp4"))
    (message,) = map(unpack, decode_file(pack(gone), settings_of(model)))
    assert isinstance(message, Failed)


def test_a_copy_that_fails_elsewhere_leaves_the_frames_of_its_content(film: Path, model: Any, tmp_path: Path) -> None:
    """Two nodes decode files of equal content at the same time, and one of them cannot end."""
    store = Store(tmp_path / "index")
    plan = make_plan(store, [film], lambda: model)
    store.create(plan.meta)
    writer = IndexWriter(store, plan, None)
    arrivals = Arrivals(writer)
    settings = settings_of(model)
    encode = EncodeWindow(settings)
    messages = [unpack(encode(row)) for row in decode_file(pack(task_of(film)), settings)]
    for message in reversed(messages):  # they arrive in any order
        arrivals.take(message)
    arrivals.take(Failed(replace(messages[0].task, path="/copy.mp4"), "decoding stood still"))
    arrivals.take(messages[0])  # repeated work
    writer.flush()
    (record,) = store.records().values()
    assert len(store.fetch([record.content])[record.content].times) == record.frames
    assert writer.report.failed == [("/copy.mp4", "decoding stood still")]
    assert writer.report.indexed == [str(film)]


def test_another_model_on_a_node_is_refused(film: Path, model: Any) -> None:
    settings = settings_of(model)
    row = next(iter(decode_file(pack(task_of(film)), settings)))
    raised = unpack(EncodeWindow(replace(settings, fingerprint="of another"))(row))
    assert isinstance(raised, Raised)
    assert isinstance(raised.error, ModelError)
    assert "another model" in str(raised.error)


class Answers:
    """Attempts of which none may be made."""

    def begin(self, unit: Any) -> bool:
        return False


def test_work_that_ended_too_many_workers_is_a_failure_of_its_file(film: Path, model: Any) -> None:
    settings, no_more = settings_of(model), cast(Attempts, Answers())
    expected = Failed(task_of(film), LOST)
    assert [unpack(row) for row in decode_file(pack(task_of(film)), settings, no_more)] == [expected]
    assert [unpack(row) for row in EncodeFile(settings, no_more)(pack(task_of(film)))] == [expected]
    window = next(iter(decode_file(pack(task_of(film)), settings)))
    failed = unpack(EncodeWindow(settings, no_more)(window))
    assert (failed.task.path, failed.cause) == (str(film), LOST)
