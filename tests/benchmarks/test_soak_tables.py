"""Damaged tables, documents and texts: a few hundred of the soak test, which has thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.common.table_seeds import DATA_SETS, readers
from benchmarks.soak.damaged_tables import run
from mova.data.readers.registry import DATA_SETS as KNOWN
from mova.errors import MovaError


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_undamaged_files_are_read_and_every_data_set_has_some(tmp_path: Path) -> None:
    assert {name.split()[0] for name in DATA_SETS} == set(KNOWN)
    for number, (name, reader) in enumerate(readers(tmp_path).items()):
        folder = written(tmp_path / str(number), dict(reader.files))
        try:
            reader.read(folder)
        except MovaError as error:
            pytest.fail(f"{name}: {error}")


def test_only_errors_of_mova_escape_from_readers_of_damaged_files() -> None:
    outcome = run(400, seed=20, skip=("checkpoint",))
    assert outcome.foreign == []
    assert outcome.slow == []
    assert outcome.mutants == outcome.read + outcome.refused == 400
    assert outcome.read > 40
    assert outcome.refused > 200


CASES = {
    "00_read_s.npy_TokenError": ("matrix npy", {"s.npy": "m.npy"}),
    "01_read_s.parquet_OSError": ("matrix parquet", {"s.parquet": "m.parquet"}),
    "03_read_m.jsonl_RecursionError": ("manifest", {}),
    "04_read_ent_UnicodeDecodeError": ("entailment", {"lab.csv": "l.csv"}),
    "06_convert_folder_RecursionError": ("convert folder lines", {}),
    "07_convert_msvd_AttributeError": ("convert msvd", {}),
    "09_read_ids.json_UnicodeDecodeError": ("ids", {"ids.json": "i.json"}),
    "10_read_s.csv_Error": ("matrix csv", {"s.csv": "m.csv"}),
    "12_read_ent_Error": ("entailment", {"ent.csv": "s.csv"}),
    "13_convert_tacos_TypeError": ("convert tacos", {}),
    "../hugeint_manifest.jsonl": ("manifest", {"hugeint_manifest.jsonl": "m.jsonl"}),
    "../deep_manifest.jsonl": ("manifest", {"deep_manifest.jsonl": "m.jsonl"}),
}


@pytest.mark.parametrize("case", CASES)
def test_files_that_once_raised_other_errors(shared_data: Path, tmp_path: Path, case: str) -> None:
    path = shared_data / "cases" / "hostile" / "tables" / case
    if not path.exists():
        pytest.skip("the cases are not in the shared data")
    name, names = CASES[case]
    reader = readers(tmp_path / "scratch")[name]
    folder = written(tmp_path, dict(reader.files))
    for file in path.iterdir() if path.is_dir() else [path]:
        (folder / names.get(file.name, file.name)).write_bytes(file.read_bytes())
    with pytest.raises(MovaError) as error:
        reader.read(folder)
    assert str(tmp_path) in str(error.value)
    assert len(str(error.value)) < 1_000
