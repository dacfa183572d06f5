"""Read shards in WebDataset's form: tar files in which the files of a sample share the name up to the first dot."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mova.data.readers.annotations import AnnotationSource, Collector, to_captions, to_entries
from mova.errors import DataError
from mova.utils.files import IMAGE_SUFFIXES, SUFFIXES

SPLITS = ("train", "val", "test")
VIDEOS = SUFFIXES | IMAGE_SUFFIXES


def webdataset(source: AnnotationSource, rows: Collector) -> None:
    """Tar files of clips and captions, as WebDataset, img2dataset and video2dataset write them.

    A sample is a video `KEY.mp4` (or another suffix of videos and images) with its caption in `KEY.txt`, or in
    `KEY.json` under "captions" (a list), "caption" or "text". "url" there names the source video. The split is "split"
    of the JSON, or what the name of the tar file or of its folder begins with (train, val, test), or "train". Samples
    without a video or a caption are left out and noted. The tar files stay as they are: the manifest's paths lead into
    them.
    """
    path = source.path
    shards = [path] if path.is_file() else sorted(path.rglob("*.tar"))
    if not shards:
        raise DataError(f"{path}: contains no .tar file")
    for shard in shards:
        for key, files in _samples(shard):
            where = f"{shard}: {key}"
            video = next((name for ending, (name, _) in files.items() if f".{ending}".lower() in VIDEOS), None)
            about = _about(where, files)
            texts = about.get("captions") or [about.get("caption") or about.get("text")]
            if "txt" in files and not any(texts):
                texts = [files["txt"][1].decode("utf-8", errors="replace")]
            texts = [text for text in texts if isinstance(text, str) and text.strip()]
            if video is None or not texts:
                source.note(f"sample without a {'video' if video is None else 'caption'}; excluded", where)
                continue
            split = str(about.get("split") or _split_of(shard))
            if source.includes(split):
                id = str(about.get("id") or f"{shard.stem}/{key}")
                url = about.get("url")
                origin = url if isinstance(url, str) and url else id
                place = f"{shard.resolve()}/{video}"
                rows.add(where, id=id, split=split, captions=to_captions(where, *texts), video=place, origin=origin)


Files = Mapping[str, tuple[str, bytes]]
"""Ending in lower case -> (name of the member, content); videos have no content."""


def _samples(shard: Path) -> Iterator[tuple[str, Files]]:
    """Yield key and files of each sample of a tar file, in its order."""
    samples: dict[str, dict[str, tuple[str, bytes]]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                stem, _, ending = name.name.partition(".")
                if not member.isreg() or not ending:
                    continue
                file = tar.extractfile(member) if ending.lower() in ("txt", "json") else None
                content = file.read() if file is not None else b""
                samples.setdefault((name.parent / stem).as_posix(), {})[ending.lower()] = (name.as_posix(), content)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{shard}: cannot be read as a tar file without compression ({error})") from error
    yield from samples.items()


def _about(where: str, files: Files) -> dict[str, Any]:
    if "json" not in files:
        return {}
    try:
        return to_entries(where, json.loads(files["json"][1]))
    except ValueError as error:
        raise DataError(f"{where}: its .json is not valid ({error})") from error


def _split_of(shard: Path) -> str:
    names = (shard.stem.lower(), shard.parent.name.lower())
    return next((split for name in names for split in SPLITS if name.startswith(split)), "train")
