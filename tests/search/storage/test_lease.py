"""The lease of a remote index's only writer, on LanceDB in a folder: commits there exclude each other like on S3."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import pytest

from mova.errors import MovaError
from mova.search.storage import lease
from mova.search.storage.lease import TABLE, Holder, Lease, leased
from mova.utils.file_lock import LockedError


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.05)
    monkeypatch.setattr(lease, "SILENCE", 0.5)


def connect(folder: Path) -> Any:
    return lancedb.connect(folder, read_consistency_interval=timedelta(0))


def holder_of(folder: Path) -> Holder:
    return Holder(**connect(folder).open_table(TABLE).to_arrow().to_pylist()[0])


def held_by(folder: Path, holder: Holder) -> None:
    connect(folder).create_table(TABLE, data=[holder._asdict()], mode="overwrite")


def test_of_several_writers_at_once_one_writes_and_the_others_are_told_who(tmp_path: Path) -> None:
    held_by(tmp_path, Holder())  # making the table is a race of its own, see below
    start, told = threading.Barrier(4), threading.Semaphore(0)
    won, refused = list[int](), list[str]()

    def write(number: int) -> None:
        start.wait()
        try:
            with leased(connect(tmp_path), "s3://films") as held:
                won.append(number)
                for _ in range(3):
                    told.acquire(timeout=20)
                held.require()
        except LockedError as error:
            refused.append(str(error))
            told.release()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(refused) == 3
    assert all(f"process {os.getpid()} on {platform.node()}" in message for message in refused)
    assert holder_of(tmp_path) == Holder()


def test_a_table_that_is_made_late_costs_an_attempt_and_a_writer_that_lost_its_row_stops(tmp_path: Path) -> None:
    class Late(Lease):
        """Another process makes the table between this one's reading and its change."""

        made = 0

        def _read(self) -> Holder:
            holder = super()._read()
            if self.made < 1:
                self.made += 1
                held_by(tmp_path, Holder())
            return holder

        def _change(self, where: str, new: Holder) -> bool:
            if self.made == 1:
                self.made += 1
                raise RuntimeError("lance error: Incompatible transaction: Update beside Overwrite at version 3")
            return super()._change(where, new)

    late = Late(connect(tmp_path), "s3://films")
    late.take()
    assert holder_of(tmp_path).process == os.getpid()
    held_by(tmp_path, Holder())
    with pytest.raises(LockedError, match="writes to this index now"):
        late.require()
    late.release()


def test_a_writer_that_is_gone_from_this_machine_is_replaced_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SILENCE", 1e6)
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    held_by(tmp_path, Holder(f"{lease.machine()}-theirs", 7, platform.node(), int(ended.stdout)))
    with leased(connect(tmp_path), "s3://films"):
        assert holder_of(tmp_path).process == os.getpid()
    # a process of another machine with the same name, or of another container, may be alive
    assert not Holder(f"{'0' * 16}-theirs", 7, platform.node(), int(ended.stdout)).has_ended


def test_a_silent_writer_is_replaced_and_finds_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "_beat", lambda self: None)
        silent = Lease(connect(tmp_path), "s3://films")
        silent.take()
    silent.require()
    with leased(connect(tmp_path), "s3://films") as present:
        with pytest.raises(LockedError, match=r"another one .* writes to this index now"):
            silent.require()
        silent.release()
        present.require()  # who lost the lease does not return that of another one
    assert holder_of(tmp_path) == Holder()


def test_a_token_is_no_query_and_a_damaged_table_is_one_message(tmp_path: Path) -> None:
    held_by(tmp_path, Holder("it's '' here", 1, "elsewhere", 1))
    with leased(connect(tmp_path), "s3://films"):
        assert holder_of(tmp_path).host == platform.node()
    connect(tmp_path).open_table(TABLE).delete("true")
    with (
        pytest.raises(MovaError, match=r"s3://films: the table writer is damaged"),
        leased(connect(tmp_path), "s3://films"),
    ):
        pass
