"""Readers of web-scale sets with machine-written captions: VideoUFO, UltraVideo, ShareGPT4V, ShareGPT4Video, InternVid.

These have no published splits. `split_of` defines mova's: by a hash of the video that a clip was cut from, so that no
two splits share a source, and the splits do not depend on which files are available.
"""

from __future__ import annotations

from mova.data.readers.annotations import (
    AnnotationSource,
    Collector,
    clock_seconds,
    get_fields,
    hash_bucket,
    source_video,
    to_captions,
    to_list,
    to_number,
    to_text,
)
from mova.errors import DataError
from mova.utils.tables import read_csv, read_json, read_jsonl

SHAREGPT4V_FILES = ("share-captioner_coco_lcs_sam_1246k_1107.json", "sharegpt4v_instruct_gpt4-vision_cap100k.json")
ULTRAVIDEO_TEXTS = ("Brief Description", "Detailed Description", "Summarized Description")
ULTRAVIDEO_ASPECTS = (
    *("Background", "Theme Description", "Style", "Shot Type", "Camera Movement", "Lighting", "Video Atmosphere"),
)


def split_of(origin: str) -> str:
    """Return the split of a source video by a hash of its name: 1 % "test", 1 % "val", the others "train"."""
    return {0: "test", 1: "val"}.get(hash_bucket(origin), "train")


def _add(source: AnnotationSource, rows: Collector, where: str, origin: str, **row: object) -> None:
    split = split_of(origin)
    if source.includes(split):
        rows.add(where, split=split, origin=origin, **row)  # type: ignore[arg-type]


def videoufo(source: AnnotationSource, rows: Collector) -> None:
    """VideoUFO (Wang and Yang, arXiv 2503.01739): `VideoUFO.csv`, one clip file `ID.mp4` per line, ID `YOUTUBE.N`.

    Two captions: the detailed one, then the brief one.
    """
    for where, row in read_csv(source.require("VideoUFO.csv"), "ID", "Brief Caption", "Detailed Caption"):
        id = to_text(where, row["ID"])
        captions = to_captions(where, row["Detailed Caption"], row["Brief Caption"])
        _add(source, rows, where, origin=id.rpartition(".")[0] or id, id=id, captions=captions)


def ultravideo(source: AnnotationSource, rows: Collector) -> None:
    """UltraVideo (Xue et al., arXiv 2506.13691): `short.csv`, `long.csv`; each clip is a separate file.

    Captions: summarized (the long structured one), detailed, brief; the seven aspects are in `meta`. An empty caption
    is left out and noted; a clip without any caption is an error.
    """
    paths = [path for path in (source.find("short.csv"), source.find("long.csv")) if path] or [
        source.require("short.csv")
    ]
    for path in paths:
        for where, row in read_csv(path, "clip_id", "url", "duration", *ULTRAVIDEO_TEXTS):
            for name in (name for name in ULTRAVIDEO_TEXTS if not row[name].strip()):
                source.note("caption is empty; excluded", f"{where}: {name}")
            texts = [row[name] for name in reversed(ULTRAVIDEO_TEXTS) if row[name].strip()]
            if not texts:
                raise DataError(f"{where}: has no caption")
            meta = {name: row[name].strip() for name in ULTRAVIDEO_ASPECTS if row.get(name, "").strip()}
            id = to_text(where, row["clip_id"])
            duration = to_number(where, row["duration"])
            extra = {"meta": meta, "duration": duration, "captions": to_captions(where, *texts)}
            _add(source, rows, where, origin=to_text(where, row["url"]), id=id, **extra)


def sharegpt4v(source: AnnotationSource, rows: Collector) -> None:
    """ShareGPT4V (Chen et al., arXiv 2311.12793): images with one long caption each; an image is a video of one frame.

    Files: `share-captioner_coco_lcs_sam_1246k_1107.json` or `sharegpt4v_instruct_gpt4-vision_cap100k.json`: a list of
    entries with `image`, a path relative to the folder of images, and `conversations`, whose single answer ("gpt") is
    the caption.
    """
    path = source.require(*SHAREGPT4V_FILES)
    for position, entry in enumerate(to_list(str(path), read_json(path)), start=1):
        where = f"{path}, entry {position}"
        image, turns = get_fields(where, entry, "image", "conversations")
        messages = [get_fields(where, turn, "from", "value") for turn in to_list(where, turns)]
        answers = [value for speaker, value in messages if speaker == "gpt"]
        if len(answers) != 1:
            raise DataError(f"{where}: has {len(answers)} answers instead of one; instruction data have no captions")
        image = to_text(where, image)
        _add(source, rows, where, origin=image, id=image, captions=to_captions(where, *answers))


def sharegpt4video(source: AnnotationSource, rows: Collector) -> None:
    """ShareGPT4Video (Chen et al., arXiv 2406.04325): `sharegpt4video_40k.jsonl`.

    One caption per video: that of the whole video (`idx` "-1"). Captions of keyframes are in `meta`, unchanged.
    """
    for where, entry in read_jsonl(source.require("sharegpt4video_40k.jsonl", "*.jsonl")):
        id, path, texts = get_fields(where, entry, "video_id", "video_path", "captions")
        texts = [get_fields(where, text, "idx", "content") for text in to_list(where, texts)]
        whole = [content for idx, content in texts if str(idx) == "-1"]
        if len(whole) != 1:
            raise DataError(f"{where}: has {len(whole)} captions of the whole video (idx -1) instead of one")
        meta = {"keyframe_captions": [{"idx": idx, "content": text} for idx, text in texts if str(idx) != "-1"]}
        id, path = to_text(where, str(id)), to_text(where, path)
        _add(
            source,
            rows,
            where,
            origin=source_video(id),
            id=id,
            video=path,
            captions=to_captions(where, *whole),
            meta=meta,
        )


def internvid(source: AnnotationSource, rows: Collector) -> None:
    """InternVid (Wang et al., arXiv 2307.06942), any of its JSONL files: one clip of a YouTube file per line.

    The scores `Aesthetic_Score` and `UMT_Score` are in `meta`, if given.
    """
    paths = source.find_all("*.jsonl")
    if not paths:
        raise DataError(f"{source.path}: has no .jsonl file of InternVid")
    for path in paths:
        for where, entry in read_jsonl(path):
            names = ("YoutubeID", "Start_timestamp", "End_timestamp", "Caption")
            video, start, end, text = get_fields(where, entry, *names)
            video, texts = to_text(where, video), to_captions(where, text)
            clip = (clock_seconds(where, start), clock_seconds(where, end))
            meta = {name: to_number(where, entry[name]) for name in ("Aesthetic_Score", "UMT_Score") if name in entry}
            id = f"{video}_{start}_{end}"
            _add(source, rows, where, origin=video, id=id, video=video, clip=clip, captions=texts, meta=meta)
