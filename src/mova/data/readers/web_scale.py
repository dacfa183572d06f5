"""Readers of web-scale sets with machine-written captions: VideoUFO, UltraVideo, ShareGPT4V, ShareGPT4Video, InternVid.

These have no published split. `held_out` gives mova's: by the video that a clip was cut from, so that no two parts
share a source; the same for everybody, whatever is missing on their disk.
"""

from __future__ import annotations

from mova.data.readers.annotations import (
    Collector,
    Source,
    captioned,
    clock_seconds,
    fields,
    listed,
    number,
    place_of,
    read_csv,
    read_json,
    read_jsonl,
    source_video,
    stripped,
)
from mova.errors import DataError

SHAREGPT4V_FILES = ("share-captioner_coco_lcs_sam_1246k_1107.json", "sharegpt4v_instruct_gpt4-vision_cap100k.json")
ULTRAVIDEO_TEXTS = ("Brief Description", "Detailed Description", "Summarized Description")
ULTRAVIDEO_ASPECTS = (
    *("Background", "Theme Description", "Style", "Shot Type", "Camera Movement", "Lighting", "Video Atmosphere"),
)


def held_out(origin: str) -> str:
    """Part of a source video: one in a hundred "test", one "val", the rest "train", by a hash of its name."""
    return {0: "test", 1: "val"}.get(place_of(origin), "train")


def _add(source: Source, rows: Collector, where: str, origin: str, **row: object) -> None:
    split = held_out(origin)
    if source.wants(split):
        rows.add(where, split=split, origin=origin, **row)  # type: ignore[arg-type]


def videoufo(source: Source, rows: Collector) -> None:
    """VideoUFO (Wang and Yang, arXiv 2503.01739): `VideoUFO.csv`, a clip file `ID.mp4` a line, ID `YOUTUBE.N`.

    Two captions: the detailed one, then the brief one.
    """
    for where, row in read_csv(source.need("VideoUFO.csv"), "ID", "Brief Caption", "Detailed Caption"):
        id = stripped(where, row["ID"])
        captions = captioned(where, row["Detailed Caption"], row["Brief Caption"])
        _add(source, rows, where, origin=id.rpartition(".")[0] or id, id=id, captions=captions)


def ultravideo(source: Source, rows: Collector) -> None:
    """UltraVideo (Xue et al., arXiv 2506.13691): `short.csv`, `long.csv`; clip files of their own.

    Captions: summarized (the long structured one), detailed, brief; the seven aspects are in `meta`. A caption that is
    empty is left out and noted; a clip without any caption is an error.
    """
    paths = [path for path in (source.find("short.csv"), source.find("long.csv")) if path] or [source.need("short.csv")]
    for path in paths:
        for where, row in read_csv(path, "clip_id", "url", "duration", *ULTRAVIDEO_TEXTS):
            for name in (name for name in ULTRAVIDEO_TEXTS if not row[name].strip()):
                source.note("caption is empty; left out", f"{where}: {name}")
            texts = [row[name] for name in reversed(ULTRAVIDEO_TEXTS) if row[name].strip()]
            if not texts:
                raise DataError(f"{where}: has no caption")
            meta = {name: row[name].strip() for name in ULTRAVIDEO_ASPECTS if row.get(name, "").strip()}
            id = stripped(where, row["clip_id"])
            duration = number(where, row["duration"])
            extra = {"meta": meta, "duration": duration, "captions": captioned(where, *texts)}
            _add(source, rows, where, origin=stripped(where, row["url"]), id=id, **extra)


def sharegpt4v(source: Source, rows: Collector) -> None:
    """ShareGPT4V (Chen et al., arXiv 2311.12793): images, a long caption each; an image is a video of one frame.

    `share-captioner_coco_lcs_sam_1246k_1107.json` or `sharegpt4v_instruct_gpt4-vision_cap100k.json`: a list of entries
    with `image`, a path below the folder of images, and `conversations`, whose one answer ("gpt") is the caption.
    """
    path = source.need(*SHAREGPT4V_FILES)
    for position, entry in enumerate(listed(str(path), read_json(path)), start=1):
        where = f"{path}, entry {position}"
        image, turns = fields(where, entry, "image", "conversations")
        said = [fields(where, turn, "from", "value") for turn in listed(where, turns)]
        answers = [value for speaker, value in said if speaker == "gpt"]
        if len(answers) != 1:
            raise DataError(f"{where}: has {len(answers)} answers instead of one; instruction data hold no captions")
        image = stripped(where, image)
        _add(source, rows, where, origin=image, id=image, captions=captioned(where, *answers))


def sharegpt4video(source: Source, rows: Collector) -> None:
    """ShareGPT4Video (Chen et al., arXiv 2406.04325): `sharegpt4video_40k.jsonl`.

    One caption a video: the one of the whole (`idx` "-1"). Those of keyframes are in `meta`, as they stand.
    """
    for where, entry in read_jsonl(source.need("sharegpt4video_40k.jsonl", "*.jsonl")):
        id, path, texts = fields(where, entry, "video_id", "video_path", "captions")
        texts = [fields(where, text, "idx", "content") for text in listed(where, texts)]
        whole = [content for idx, content in texts if str(idx) == "-1"]
        if len(whole) != 1:
            raise DataError(f"{where}: has {len(whole)} captions of the whole video (idx -1) instead of one")
        meta = {"keyframe_captions": [{"idx": idx, "content": text} for idx, text in texts if str(idx) != "-1"]}
        id, path = stripped(where, str(id)), stripped(where, path)
        _add(
            source,
            rows,
            where,
            origin=source_video(id),
            id=id,
            video=path,
            captions=captioned(where, *whole),
            meta=meta,
        )


def internvid(source: Source, rows: Collector) -> None:
    """InternVid (Wang et al., arXiv 2307.06942), any of its JSON lines: a clip of a YouTube file and one caption.

    Scores where given (`Aesthetic_Score`, `UMT_Score`) are in `meta`.
    """
    paths = source.find_all("*.jsonl")
    if not paths:
        raise DataError(f"{source.path}: holds no .jsonl file of InternVid")
    for path in paths:
        for where, entry in read_jsonl(path):
            names = ("YoutubeID", "Start_timestamp", "End_timestamp", "Caption")
            video, start, end, text = fields(where, entry, *names)
            video, texts = stripped(where, video), captioned(where, text)
            clip = (clock_seconds(where, start), clock_seconds(where, end))
            meta = {name: number(where, entry[name]) for name in ("Aesthetic_Score", "UMT_Score") if name in entry}
            id = f"{video}_{start}_{end}"
            _add(source, rows, where, origin=video, id=id, video=video, clip=clip, captions=texts, meta=meta)
