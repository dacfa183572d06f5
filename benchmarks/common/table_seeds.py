"""Small valid files of every kind that mova reads as a table, a document or a text, and a function that reads them."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ENTITIES = {"duration": 10.0, "timestamps": [[0, 4.5], [3, 9.5]], "sentences": ["One.", "Two."]}
FRAMES = {"timestamps": [[147, 294], [0, 147]], "sentences": ["He cuts.", "He stops."], "fps": 29.4, "num_frames": 300}
STEPS = [
    {"id": "212", "segment": [60.0, 69.0], "label": "take it out"},
    {"id": "216", "segment": [71, 82], "label": "in"},
]
QUERY = {
    "qid": 7,
    "query": "A dog runs.",
    "duration": 150,
    "vid": "NUs_210.0_360.0",
    "relevant_windows": [[82, 150]],
    "relevant_clip_ids": [41, 42],
    "saliency_scores": [[1, 1, 2], [3, 3, 4]],
}
PREDICTION = {"qid": 7, "pred_relevant_windows": [[80, 150, 0.9], [0, 4, 0.1]], "pred_saliency_scores": [0.1] * 75}
ROWS = [
    {
        "id": "a",
        "video": "a.mp4",
        "duration": 10.0,
        "split": "train",
        "start": 1,
        "end": 9.5,
        "source": "folder",
        "captions": [
            {"text": "One. Two.", "sentences": [{"text": "One.", "start": 0.0, "end": 2.5}, {"text": "Two."}]}
        ],
        "meta": {
            "granularity": "LVLT",
            "label": [{"class": "c1", "name": "x"}],
            "source_video": "a",
            "windows": [[1, 2]],
            "negatives": [{"text": "None.", "misalignment": "object"}],
            "synthetic": [
                {"video": "s.mp4", "text": "None.", "role": "negative", "place": 0, "index": 0, "duration": 2.0}
            ],
        },
    },
    {
        "id": "b",
        "duration": 4.0,
        "split": "test",
        "captions": [{"text": "Three."}],
        "parts": [{"video": "a.mp4", "start": 0, "end": 1.5}, {"video": "b.mp4", "start": 2, "end": 4.5}],
    },
]
LISTS = {f"{split}_list.txt": f"{id}\n" for split, id in (("train", "a_1_2"), ("val", "b_1_2"), ("test", "c_3_4"))}
WORDS = {"a_1_2": [["a", "dog"], ["it", "runs"]], "b_1_2": [["b"]], "c_3_4": [["c"]]}
SENTENCES = [{"caption": f"{id} {k}", "video_id": id} for k in range(2) for id in ("a_1_2", "b_1_2", "c_3_4")]
PAIRS = [
    ("v/1.avi", "Opening it", 1),
    ("v/1.avi", "Closing it", 0),
    ("v/2.avi", "Closing it", 1),
    ("v/2.avi", "Opening it", 0),
]
SRT = "1\n00:00:01,000 --> 00:00:03,000 X1:4 X2:6\n<i>A bar</i>\n\n2\n00:00:03,500 --> 00:00:06,250\n- {\\an8}A dog.\n"
VTT = "WEBVTT\n\nNOTE x\n\none\n00:01.000 --> 00:03.000 align:end\n<v Ann>A &amp; B</v>\n\n1:00:03.5 --> 1:00:06.25\nC."
RECIPE = {
    "model": {"kind": "two-tower", "source": "x/y", "text_length": 64, "freeze": "none"},
    "data": {"kind": "manifest", "manifest": "m.jsonl", "split": "train", "fps": 2.0, "frames": 8, "validation": "val"},
    "objective": {"kind": "clip4clip"},
    "training": {"max_steps": 10, "learning_rate": 1e-4},
    "seed": 3,
}
REPORT = {
    "protocol": "pairs",
    "fingerprint": "0123",
    "order": "4567",
    "queries": 3,
    "candidates": 3,
    "settings": {},
    "ties": {"t2v": 0, "v2t": 0},
    "bounds": {},
    "conventions": {},
    "intervals": {},
    "t2v": {"R@1": 33.3, "MdR": 2.0},
    "v2t": {"R@1": 66.7, "MdR": 1.0},
    "places": {way: {"better": [0, 1, 2], "tied": [1, 1, 1], "right": [1, 1, 1]} for way in ("t2v", "v2t")},
}


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """Return a tar file without compression."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


SHARD = {"a.mp4": b"video", "a.txt": b"one", "b.mp4": b"video", "b.json": b'{"caption": "two", "split": "test"}'}
"""A sample with a text and one with a document, as WebDataset has them."""
DATA_SETS: dict[str, dict[str, Any]] = {
    "msrvtt-1ka": {
        "MSRVTT_train.9k.csv": "video_id\na_1_2\n",
        "MSRVTT_JSFUSION_test.csv": "key,vid_key,video_id,sentence\nret0,msr1,video1,a dog\n",
        "MSRVTT_data.json": {"sentences": SENTENCES, "videos": []},
    },
    "msrvtt-7k": {"MSRVTT_train.7k.csv": "video_id\na_1_2\n", "MSRVTT_data.json": {"sentences": SENTENCES}},
    "msrvtt-1kb": {"train_list_miech.txt": "a_1_2\n", "MSRVTT_data.json": {"sentences": SENTENCES}},
    "msrvtt-full": {
        "MSRVTT_data.json": {"sentences": [{"caption": "A dog.", "video_id": f"video{n}"} for n in range(6513, 7010)]}
    },
    "msvd": {**LISTS, "raw-captions.pkl": pickle.dumps(WORDS, 2)},
    "msvd lines": {**LISTS, "AllVideoDescriptions.txt": "# by people\n\na_1_2 a dog\nb_1_2 b\nc_3_4 c\n"},
    "didemo": {
        "train_data.json": [{"video": "a.avi", "description": "A dog.", "times": [[0, 1], [0, 1], [2, 2]]}],
        "train_list.txt": "a.avi\n",
    },
    "activitynet": {"train.json": {"v_x": ENTITIES}, "val_1.json": {"v_y": ENTITIES}},
    "activitynet-val2": {"val_2.json": {"v_y": ENTITIES}},
    "lsmdc": {"LSMDC16_annos_val.csv": "F_00.00.01.000-00.00.02.000\t00.01\t00.02\t00.01\t00.02\tSOMEONE runs.\n"},
    "vatex": {
        **LISTS,
        "vatex_training_v1.0.json": [{"videoID": id, "enCap": ["A dog.", "It runs."]} for id in WORDS],
    },
    "datasets": {
        "metadata.jsonl": '{"file_name": "a.mp4", "text": "A dog.", "split": "train"}\n'
        '{"file_name": "b.mp4", "captions": ["One.", "Two."], "duration": 4.0, "start": 1, "end": 3.5}\n'
    },
    "datasets table": {"train/metadata.csv": "file_name,text\na.mp4,A dog.\n"},
    "fiftyone": {
        "data.json": {"a": "data/a.mp4", "b": "data/b.mp4"},
        "labels.json": {
            "classes": ["A dog.", "It runs."],
            "labels": {
                "a": [{"label": 1, "timestamps": [0.5, 2]}, {"label": "x", "timestamps": [0, 1], "attributes": {}}],
                "b": None,
            },
        },
    },
    "videoufo": {"VideoUFO.csv": "ID,Topic,Brief Caption,Detailed Caption\nb54.0,x,brief,A long one.\nz.0,x,b,d\n"},
    "ultravideo": {
        "short.csv": "clip_id,url,duration,Lighting,Brief Description,Detailed Description,Summarized Description\n"
        "7a0f.mp4,BJ,3.2,soft,brief,detailed,summary\n"
    },
    "sharegpt4v": {
        "sharegpt4v_instruct_gpt4-vision_cap100k.json": [
            {
                "image": "coco/1.jpg",
                "conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A dog."}],
            }
        ]
    },
    "sharegpt4video": {
        "sharegpt4video_40k.jsonl": [
            {
                "video_id": "abc",
                "video_path": "panda/abc.mp4",
                "captions": [{"idx": "0", "content": "first"}, {"idx": "-1", "content": "All of it."}],
            }
        ]
    },
    "internvid": {
        "10M.jsonl": [
            {
                "YoutubeID": "HdYo",
                "Start_timestamp": "00:03:10.567",
                "End_timestamp": "00:03:11.200",
                "Caption": "a mouse",
                "UMT_Score": 0.39,
            }
        ]
    },
    "videocon-llm": {
        "videocon_llm_entailment.csv": "source,videopath,caption,neg_caption,split,misalignment,youtube_key\n"
        "vatex,v/abc_000001_000011.mp4,a dog,a cat,train,object,abc\n"
    },
    "videocon-human": {
        "videocon_human.csv": "video_url,caption,neg_caption,nle,hard\ns3://b/v_x.mp4?k=1,a,b,why,True\n"
    },
    "videocon-human-hard": {
        "videocon_human.csv": "video_url,caption,neg_caption,nle,hard\ns3://b/v_x.mp4?k=1,a,b,why,True\n"
    },
    "ssv2-temporal": {
        "eval_ssv2_temporal.csv": "videopath,caption,match\n" + "".join(f"{v},{t},{m}\n" for v, t, m in PAIRS)
    },
    "ssv2-events": {
        "eval_ssv2_events.csv": "videopath,caption,match\n" + "".join(f"{v},{t},{m}\n" for v, t, m in PAIRS)
    },
    "nextqa": {
        "val.csv": "video,question,answer,qid,type,a0,a1,a2,a3,a4\n77,why,2,6,CW,a,b,c,d,e\n",
        "map_vid_vidorID.json": {"77": "0101/77"},
    },
    "atp-hard": {
        "nextqa-atphard.csv": "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"
        "77,9,3,2,why,2,6,CW,a,b,c,d,e\n"
    },
    "atp-hard-statements": {
        "nextqa-atphard-statements.csv": "vid_id,question,answer,s0,s1,s2,s3,s4\n77,why,0,A.,B.,C.,D.,E.\n"
    },
    "how2qa": {"how2QA_val_release.csv": 'iPV4,[67.57:95.13],tires,paint,work,"What, then?",stereo\n'},
    "lvu": {
        "lvu_1.0/genre/train.csv": "label name id movie\n3 Romance 1aZt tt001\n",
        "lvu_1.0/like_ratio/val.csv": "likes dislikes id movie\n90 10 2bZt tt002\n",
    },
    "coin": {
        "COIN.json": {
            "database": {
                "LtRSn": {
                    "duration": 131.03,
                    "class": "ReplaceDrive",
                    "subset": "training",
                    "recipe_type": 131,
                    "annotation": STEPS,
                }
            }
        }
    },
    "charades-ego": {
        "CharadesEgo_v1_test_only1st.csv": "id,script,actions,length\nAEGO,A man.,c092 11.90 21.20;c147 0 12.6,30.1\n",
        "Charades_v1_classes.txt": "c092 Opening a window\nc147 Cooking something\n",
    },
    "charades-sta": {
        "charades_sta_test.txt": "A 1.5 3##a person sits.\nB 0.0 2.0##b\nA 2 9.9##he stands ## up\n",
        "Charades_v1_test.csv": "id,length\nA,9.5\nB,5\n",
    },
    "qvhighlights": {
        "highlight_val_release.jsonl": [QUERY, {**QUERY, "qid": 8, "relevant_windows": [[0, 2], [10, 14]]}]
    },
    "tacos": {"train.json": {"s1-d1.avi": FRAMES}},
    "youcook2": {
        "youcookii_annotations_trainval.json": {
            "database": {
                "a": {
                    "duration": 241.6,
                    "subset": "validation",
                    "recipe_type": "212",
                    "annotations": [{"id": 0, "segment": [25, 37.5], "sentence": "cut the onion"}],
                }
            }
        }
    },
    "synopground": {
        "val.jsonl": [
            {
                "qid": "d1-e2",
                "paragraph_number": n,
                "query": f"Ann {n}.",
                "duration": 7800,
                "relevant_windows": [[n, 600]],
            }
            for n in (1, 0)
        ]
    },
    "htm-align": {"htm_align.json": {"a": [[0, 1.0, 4.0, "hello"], [1, 10.7, 17.5, "add oil"]]}},
    "folder": {"t.csv": "video,caption,start,end,split,who\na.mp4,one,0,2.5,test,me\nb.mp4,two,,,,\n"},
    "folder lines": {"t.jsonl": [{"video": "a.mp4", "caption": "one", "id": 5, "duration": 9, "tags": ["x"]}]},
    "subtitles": {"a.srt": SRT, "b.en.vtt": VTT},
    "webdataset": {"train-0.tar": tar_of(SHARD)},
    "class-folders": {"train/n1/a.jpg": "", "train/n2/b.PNG": "", "classes.txt": "n1 dog\nn2 cat\n"},
}
"""Name of a data set, perhaps with a kind of file -> its files: text, bytes, or JSON (a list in `.jsonl`: lines)."""


@dataclass(frozen=True)
class Reader:
    """A reader, with valid files for it: name -> content, and a function of the folder that contains them."""

    files: Mapping[str, bytes]
    read: Callable[[Path], object]


def readers(scratch: Path) -> dict[str, Reader]:
    """Return every reader by name; `scratch` is a folder for files that only programs can write."""
    from mova.data.pair_list import read_pairs
    from mova.data.quarantine import read_quarantine
    from mova.eval.moment_files import read_moments
    from mova.eval.published import read_figures
    from mova.eval.score_files import read_entailment, read_ids, read_matrix
    from mova.models.video_llm.prompt import Question

    matrix = ",a,b,c\nx,0.9,0.25,3\ny,0.125,-0.5,1\nz,2,0,0.75\n"
    figure = {"system": "X", "protocol": "pairs", "setting": "fine-tuned", "where": "1", "t2v": {"R@1": 50.0}}
    fault = {"id": "a", "video": "a.mp4", "kind": "missing", "cause": "gone"}
    found = {
        "manifest": Reader({"m.jsonl": _bytes("m.jsonl", ROWS)}, lambda folder: _read_rows(folder / "m.jsonl")),
        "pairs csv": Reader(
            {"p.csv": b"video,text,start,end\na.mp4,One.,0,2\nb.mp4,Two.,,\n"},
            lambda folder: read_pairs(folder / "p.csv"),
        ),
        "pairs jsonl": Reader(
            {"p.jsonl": _bytes("p.jsonl", [{"video": "a.mp4", "text": "One.", "start": 0, "end": 2.5}])},
            lambda folder: read_pairs(folder / "p.jsonl"),
        ),
        "pairs manifest": Reader(
            {"p.jsonl": _bytes("p.jsonl", ROWS[:1])}, lambda folder: read_pairs(folder / "p.jsonl")
        ),
        "matrix npy": Reader({"m.npy": _npy()}, lambda folder: np.asarray(read_matrix(folder / "m.npy").scores).sum()),
        "matrix csv": Reader({"m.csv": matrix.encode()}, lambda folder: read_matrix(folder / "m.csv")),
        "matrix parquet": Reader({"m.parquet": _parquet()}, lambda folder: read_matrix(folder / "m.parquet")),
        "ids": Reader(
            {"i.json": b'{"videos": ["a", "b"], "texts": ["b", "a"]}'}, lambda folder: read_ids(folder / "i.json")
        ),
        "entailment": Reader(
            {"s.csv": b"a,x,0.5,1\nb,x,0.25,1\n", "l.csv": b"videopath,caption,match\na,x,1\nb,x,0\n"},
            lambda folder: read_entailment(folder / "s.csv", folder / "l.csv"),
        ),
        "moments": Reader(
            {"p.jsonl": _bytes("p.jsonl", [PREDICTION]), "t.jsonl": _bytes("t.jsonl", [QUERY])},
            lambda folder: read_moments(folder / "p.jsonl", folder / "t.jsonl"),
        ),
        "quarantine": Reader(
            {"q.jsonl": _bytes("q.jsonl", [fault])}, lambda folder: read_quarantine(folder / "q.jsonl")
        ),
        "recipe": Reader({"r.yaml": json.dumps(RECIPE).encode()}, lambda folder: _read_recipe(folder / "r.yaml")),
        "recipe text": Reader({"r.yaml": _shipped_recipe()}, lambda folder: _read_recipe(folder / "r.yaml")),
        "question": Reader(
            {"q.yaml": b"text: Does it show {text}?\nyes_words: ['yes']\nno_words: ['no']\n"},
            lambda folder: Question.named(folder / "q.yaml"),
        ),
        "report": Reader({"r.json": json.dumps(REPORT).encode()}, lambda folder: _compare(folder / "r.json")),
        "figures": Reader(
            {"f.json": json.dumps({"source": "X (2025)", "figures": [figure]}).encode()},
            lambda folder: read_figures(folder / "f.json"),
        ),
        "caption srt": Reader({"c.srt": SRT.encode()}, lambda folder: _caption(folder / "c.srt")),
        "caption vtt": Reader({"c.vtt": VTT.encode()}, lambda folder: _caption(folder / "c.vtt")),
        "caption txt": Reader(
            {"c.txt": "Ein Hund läuft.\nEr hält an.\n".encode()}, lambda folder: _caption(folder / "c.txt")
        ),
        "feature store": Reader(_feature_store(scratch / "store"), _read_store),
        "checkpoint": Reader(_checkpoint(), _load),
    }
    for name, files in DATA_SETS.items():
        content = {file: _bytes(file, value) for file, value in files.items()}
        found[f"convert {name}"] = Reader(content, partial(_convert, name.split()[0]))
    return found


def _bytes(name: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    return ("".join(json.dumps(row) + "\n" for row in value) if name.endswith(".jsonl") else json.dumps(value)).encode()


def _convert(name: str, folder: Path) -> object:
    from mova.data.readers.registry import convert

    splits = ["val"] if name == "msrvtt-full" else None
    return convert(name, folder, folder / "out" / "manifest.jsonl", splits=splits)


def _read_rows(path: Path) -> None:
    """Read a manifest, and everything that other parts of mova read from its `meta`."""
    from mova.data.granularity import require_granularity
    from mova.data.manifest import fingerprint, read_manifest, row_line
    from mova.data.negatives.generate import read_triplets
    from mova.data.readers.annotations import origins
    from mova.data.row_texts import row_labels
    from mova.data.synthetic import render_requests, synthetic_videos
    from mova.eval.tasks.moments import queries_of

    rows = read_manifest(path)
    fingerprint(rows)
    readings: Sequence[Callable[[Any], object]] = (
        *(row_labels, synthetic_videos, origins, row_line, lambda row: list(queries_of(row))),
        *(
            lambda row: [negative.negative.kind for negative in read_triplets([row])],
            lambda row: render_requests([row]),
        ),
        lambda row: require_granularity(row.meta.get("granularity"), "row") if "granularity" in row.meta else None,
    )
    from mova.errors import MovaError

    for row in rows:
        for reading in readings:
            try:
                reading(row)
            except MovaError:
                continue


def _read_recipe(path: Path) -> None:
    from mova.train import recipe as recipes

    recipe = recipes.load_recipe(str(path), {"data.manifest": json.dumps(str(path))})
    recipes.model_settings(recipe)
    recipes.data_settings(recipe)
    recipes.training_settings(recipe)


def _shipped_recipe() -> bytes:
    from mova.train.recipe_files import shipped_recipes

    return shipped_recipes()["clip4clip"].read_bytes().replace(b"manifest: null", b"manifest: m.jsonl")


def _compare(path: Path) -> object:
    from mova.eval.comparison import compare
    from mova.eval.report import Report
    from mova.utils.text_files import parse_json, read_text

    reports = [Report.from_json(parse_json(read_text(path), str(path)), path) for _ in range(2)]
    return compare(*reports).to_json()


def _caption(path: Path) -> object:
    from mova.cli.options import Caption

    return Caption(text_file=path).read()


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(9.0).reshape(3, 3))
    return file.getvalue()


def _parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table({"text": ["x", "y"], "a": [0.5, 0.25], "b": [0.0, 1.0]}), file)
    return file.getvalue()


def _feature_store(folder: Path) -> dict[str, bytes]:
    import torch

    from mova.data.feature_store import Clip, ClipRecord, FeatureKey
    from mova.data.feature_store_writer import FeatureWriter

    shutil.rmtree(folder, ignore_errors=True)
    with FeatureWriter(folder, FeatureKey("m", "w" * 16, "p" * 16, 4, fps=2.0)) as writer:
        record = ClipRecord(Clip("a.mp4", 0.0, None), 10, 20, "c" * 32, 1.0)
        writer.add(record, np.array([0.0, 0.5]), torch.ones(2, 4))
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".json", ".safetensors")}


def _read_store(folder: Path) -> None:
    from mova.data.feature_store import FeatureStore

    store = FeatureStore(folder)
    for clip in store.records:
        store.read(clip)


def _checkpoint() -> dict[str, bytes]:
    from mova.models.worlds_tiny.model import shipped_folder

    return {name: (shipped_folder() / name).read_bytes() for name in ("config.json", "model.safetensors")}


def _load(folder: Path) -> object:
    from mova.models.registry import load

    return load(folder)
