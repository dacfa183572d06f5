"""A manifest's files: every kind of fault is found, counted and named; the list is read back and applied."""

from __future__ import annotations

import json
import threading
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mova.data.dataset import PairDataset
from mova.data.manifest import Caption, Row, TimedSentence, fingerprint, read_manifest, write_manifest
from mova.data.quarantine import FAULT_KINDS, Quarantined, read_quarantine, without_quarantined, write_quarantine
from mova.data.readers.registry import convert
from mova.data.validation import QUEUE_PER_WORKER, check_rows, map_in_threads
from mova.errors import DataError
from mova.video.isolated import Isolated
from mova.video.reader import FrameRule

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def broken(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of the Worlds and of one row for every fault."""
    folder = tmp_path_factory.mktemp("broken")
    rows = [replace(row, video=str(worlds_manifest.parent / row.video)) for row in read_manifest(worlds_manifest)]
    plain = Row("plain", rows[0].video, None, "train", (Caption("A."),))
    (folder / "text.mp4").write_bytes(b"no video at all")
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(b"\0\0" * 8000)
    late = Caption("B. C.", (TimedSentence("B.", 1.0, 2.0), TimedSentence("C.", 10.5, 12.0)))
    rows += [
        replace(plain, id="gone", video="nowhere/gone.mp4"),
        replace(plain, id="text", video="text.mp4"),
        replace(plain, id="sound", video="sound.wav"),
        replace(plain, id="late clip", start=11.0, end=14.0),
        replace(plain, id="late sentence", captions=(late,)),
        replace(plain, id="longer", duration=14.0),
        replace(plain, id="shorter", duration=8.0),
        replace(plain, id="long clip", start=0.0, end=30.0),
        replace(plain, id="rounded", duration=10.2),
    ]
    return write_manifest(folder / "manifest.jsonl", rows)


WRONG = {
    "gone": "missing",
    "text": "unreadable",
    "sound": "no video",
    "late clip": "too short",
    "late sentence": "too short",
    "longer": "other duration",
    "shorter": "other duration",
}


@pytest.mark.parametrize("workers", [1, 4])
def test_every_fault_is_reported_and_nothing_else(broken: Path, workers: int) -> None:
    rows, counts = read_manifest(broken), list[int]()
    checked = check_rows(rows, broken.parent, workers=workers, done=counts.append)
    assert {entry.id: entry.kind for entry in checked.quarantined} == WRONG
    assert [entry.id for entry in checked.quarantined] == list(WRONG)
    assert counts == list(range(1, checked.files + 1))
    report = checked.to_json()
    assert report["fingerprint"] == fingerprint(rows)
    assert report["good"] == len(rows) - len(WRONG)
    assert report["quarantined"] == {kind: list(WRONG.values()).count(kind) for kind in FAULT_KINDS}
    assert report["files"] == len({row.video for row in rows})


def test_decoding_finds_damage_that_the_header_hides(worlds_manifest: Path, tmp_path: Path) -> None:
    row = read_manifest(worlds_manifest)[0]
    content = bytearray((worlds_manifest.parent / row.video).read_bytes())
    half = len(content) // 2
    content[half : half + 2000] = bytes(2000)
    (tmp_path / row.video).write_bytes(content)
    assert check_rows([row], tmp_path).lost == ()
    check = check_rows([row], tmp_path, decode=True)
    with Isolated() as decoder:
        lost = decoder.find_damage(tmp_path / row.video).lost
    assert lost > 0
    assert (check.lost, check.quarantined) == (((row.video, lost),), ())  # readable, as it is for other commands


def test_work_is_bounded_and_in_order() -> None:
    begun, lock, handed_out = [], threading.Lock(), list[int]()

    def task(item: int) -> int:
        with lock:
            begun.append(item)
        return -item

    def items() -> object:
        for item in range(200):
            handed_out.append(item)
            yield item

    results = map_in_threads(task, items(), 3)  # type: ignore[arg-type]
    assert next(results) == (0, 0)
    assert len(handed_out) <= 3 * QUEUE_PER_WORKER + 1
    assert [item for item, _ in results] == list(range(1, 200))
    assert sorted(begun) == list(range(200))


def test_a_list_is_read_back_and_leaves_its_rows_out(broken: Path, tmp_path: Path) -> None:
    rows = read_manifest(broken)
    quarantined = check_rows(rows, broken.parent).quarantined
    path = write_quarantine(tmp_path / "q.jsonl", quarantined)
    assert read_quarantine(path) == list(quarantined)
    kept, left_out = without_quarantined(rows, path)
    assert left_out == tuple(WRONG)
    assert [row.id for row in kept] == [row.id for row in rows if row.id not in WRONG]
    assert without_quarantined(rows, None) == (rows, ())
    assert without_quarantined(rows, write_quarantine(tmp_path / "empty.jsonl", ())) == (rows, ())
    data = PairDataset(broken, split="train", sampling=FrameRule(1, fps=1.0), quarantine=path)
    assert data.left_out == tuple(WRONG)
    assert not {row.id for row in data.rows} & WRONG.keys()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"id": "x", "video": "x", "kind": "missing", "cause": "y"}\n', "has none of the"),
        ('{"id": "gone", "video": "x", "kind": "odd", "cause": "y"}\n', "line 1: 'kind' must be one of missing, "),
        ('{"id": "gone"}\n', "line 1: missing 'video', 'kind', 'cause'"),
        ('{"id": "gone", "video": "x", "kind": "missing", "cause": "y"}\n' * 2, "line 2: duplicate id 'gone'"),
        ("no json", "line 1: not JSON"),
    ],
)
def test_a_wrong_list_is_refused(broken: Path, tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / "q.jsonl").write_text(lines)
    with pytest.raises(DataError, match=message):
        without_quarantined(read_manifest(broken), tmp_path / "q.jsonl")


def test_a_list_of_all_rows_leaves_nothing(broken: Path, tmp_path: Path) -> None:
    rows = read_manifest(broken)
    path = write_quarantine(tmp_path / "q.jsonl", [Quarantined(r.id, r.video, "missing", "x") for r in rows])
    with pytest.raises(DataError, match="has all"):
        without_quarantined(rows, path)


def test_conversion_leaves_listed_rows_out_and_counts_them(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("video,caption\na,one\nb,two\n")
    path = write_quarantine(tmp_path / "q.jsonl", [Quarantined("b", "b", "missing", "x")])
    done = convert("folder", tmp_path / "table.csv", tmp_path / "out", quarantine=path)
    assert [row.id for row in done.rows] == ["a"]
    assert done.to_json()["quarantined"] == {"count": 1, "rows": ["b"]}
    assert done.fingerprint == fingerprint(done.rows)


def test_the_command_counts_and_exits_with_1_only_if_strict(call: Call, broken: Path, tmp_path: Path) -> None:
    code, out, _ = call("data", "check", broken, "--out", tmp_path / "q.jsonl", "--json")
    report = json.loads(out)
    assert code == 0
    assert {entry["id"]: entry["kind"] for entry in report["which"]} == WRONG
    assert [entry.id for entry in read_quarantine(tmp_path / "q.jsonl")] == list(WRONG)
    code, out, err = call("data", "check", broken, "--strict")
    assert code == 1
    assert "missing: 1" in out
    assert "gone (nowhere/gone.mp4): missing" in err
    for words in (["--decode", broken.parent / "text.mp4"], [broken, broken]):
        assert call("data", "check", *words)[0] == 2
    assert call("data", "check", broken.parent, "--json")[0] == 1
