"""Question data sets: true texts are captions, false texts are metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from mova.data.negatives.generate import read_triplets, triplet_rows
from mova.data.readers.annotations import AnnotationSource, Collector
from mova.data.readers.tasks import videocon_llm
from mova.errors import DataError
from tests.support.readers_files import read, texts

LLM = "source,videopath,caption,neg_caption,split,misalignment,youtube_key\n"
PROMPT = '"A chat.\nHuman: Does this video entail the description: ""{}""?\nAI: "'


def test_videocon_llm_separates_true_and_false_captions(tmp_path: Path) -> None:
    lines = "vatex,v/abc_000001_000011.mp4,a dog,a cat,train,object,abc\nmsrvtt,v/video1.mp4,one,two,test,count,\n"
    rows = read("videocon-llm", tmp_path, {"videocon_llm_entailment.csv": LLM + lines})
    first, second = rows.values()
    assert (first.id, texts(first), first.split) == ("llm-000001", ["a dog"], "train")
    assert first.meta["negatives"] == [{"text": "a cat", "misalignment": "object"}]
    assert (first.meta["source_video"], second.meta["source_video"]) == ("abc", "video1")
    only = read("videocon-llm", tmp_path, {}, splits=["test"])
    assert list(only) == ["llm-000002"]


def test_explanations_are_read_from_videocons_second_table(tmp_path: Path) -> None:
    entailment = ["vatex,v/a.mp4,a dog,a cat,train,object,", "vatex,v/a.mp4,a dog,a pig,train,object,"]
    feedback = [
        'vatex,v/a.mp4,a dog,a cat,"It is a dog, not a cat.",train,object,',
        "vatex,v/a.mp4,a dog,a cat,Other words.,train,object,",
        "vatex,v/a.mp4,a dog,a pig,nan,train,object,",
        "vatex,v/b.mp4,tea,milk,Tea.,train,object,",
        "vatex,v/c.mp4,one,two,One.,test,count,",
    ]
    files = {
        "videocon_llm_entailment.csv": LLM + "\n".join(entailment) + "\n",
        "videocon_llm_feedback.csv": LLM.replace("neg_caption,", "neg_caption,nle,") + "\n".join(feedback) + "\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    source = AnnotationSource(tmp_path, ["train"])
    rows = Collector("videocon-llm", source)
    videocon_llm(source, rows)
    dog, pig = (row.meta["negatives"][0] for row in rows.rows)
    assert dog == {"text": "a cat", "misalignment": "object", "explanation": "It is a dog, not a cat."}
    assert "explanation" not in pig
    assert {note: len(which) for note, which in source.notes.items()} == {
        "another explanation of the same captions; the first is kept": 1,
        "explanation is missing; its line has none": 1,
        "explanation of a line that the entailment table does not have; left out": 1,
    }
    (triplet, _) = read_triplets(rows.rows)
    assert triplet.negative.explanation == "It is a dog, not a cat."
    (again, _) = triplet_rows(read_triplets(rows.rows))
    assert again.meta["negatives"] == [dog]


def test_videocon_human_and_its_hard_part(tmp_path: Path) -> None:
    lines = "video_url,caption,neg_caption,nle,hard\ns3://b/v_x.mp4?k=1,a,b,why,True\ns3://b/v_y.mp4,c,d,why,False\n"
    rows = read("videocon-human", tmp_path, {"videocon_human.csv": lines})
    assert [(row.video, row.meta["source_video"], row.meta["hard"]) for row in rows.values()] == [
        ("v_x.mp4", "x", True),
        ("v_y.mp4", "y", False),
    ]
    assert list(read("videocon-human-hard", tmp_path, {})) == ["human-0001"]
    with pytest.raises(DataError, match="line 2: expected True or False, not 'maybe'"):
        read("videocon-human", tmp_path, {"videocon_human.csv": lines.replace("True", "maybe")})


def test_ssv2_prompts_are_removed(tmp_path: Path) -> None:
    pairs = [("videos/1.avi", "Opening [something]", 1), ("videos/1.avi", "Closing [something]", 0)]
    pairs += [("videos/2.avi", "Closing [something]", 1), ("videos/2.avi", "Opening [something]", 0)]
    lines = ["videopath,caption,match", *(f"{video},{PROMPT.format(text)},{match}" for video, text, match in pairs)]
    rows = read("ssv2-events", tmp_path, {"eval_ssv2_events.csv": "\n".join(lines)})
    assert {row.id: texts(row) for row in rows.values()} == {"1": ["Opening [something]"], "2": ["Closing [something]"]}
    assert rows["2"].meta["negatives"] == [{"text": "Opening [something]"}]
    with pytest.raises(DataError, match=r"videos/2\.avi is not paired with all 2 actions"):
        read("ssv2-events", tmp_path, {"eval_ssv2_events.csv": "\n".join(lines[:-1])})
    with pytest.raises(DataError, match="duplicate pair"):
        read("ssv2-events", tmp_path, {"eval_ssv2_events.csv": "\n".join([*lines, lines[1]])})


QUESTIONS = (
    "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"
    "77,9,3,2,why does he go,{},6,CW,a,b,c,d,{}\n"
)


def test_nextqa_has_options_and_an_answer(tmp_path: Path) -> None:
    files = {"val.csv": QUESTIONS.format(2, "e"), "map_vid_vidorID.json": {"77": "0101/77"}}
    row = read("nextqa", tmp_path, files)["77_6"]
    assert (row.video, row.split, texts(row)) == ("0101/77", "val", ["c"])
    assert (row.meta["options"], row.meta["answer"], row.meta["type"]) == (list("abcde"), 2, "CW")
    assert row.meta["question"] == "why does he go"
    for answer in ("5", "-1", "1.5"):
        with pytest.raises(DataError, match=r"val\.csv, line 2: the answer must be 0 to 4"):
            read("nextqa", tmp_path, {"val.csv": QUESTIONS.format(answer, "e")})
    with pytest.raises(DataError, match="video '77' is not in map_vid_vidorID"):
        read("nextqa", tmp_path, {"val.csv": QUESTIONS.format(2, "e"), "map_vid_vidorID.json": {}})


def test_atp_hard_statements_may_repeat_a_question(tmp_path: Path) -> None:
    line = "77,why,{},A.,B.,C.,D.,E.\n"
    text = "vid_id,question,answer,s0,s1,s2,s3,s4\n" + line.format(0) + line.format(4)
    rows = read("atp-hard-statements", tmp_path, {"nextqa-atphard-statements.csv": text})
    assert [(id, texts(row)) for id, row in rows.items()] == [("77_0001", ["A."]), ("77_0002", ["E."])]


def test_how2qa_has_the_right_option_last(tmp_path: Path) -> None:
    line = 'iPV4,[67.57:95.13],replace tires,paint,work,"What, then?",replace stereo\n'
    row = read("how2qa", tmp_path, {"how2QA_val_release.csv": line})["val-00001"]
    assert (row.video, row.start, row.end, texts(row)) == ("iPV4", 67.57, 95.13, ["replace stereo"])
    assert row.meta["options"][row.meta["answer"]] == "replace stereo"
    for wrong, message in (("95.13", "70.0:60"), ("67.57:95.13", "sixty")):
        with pytest.raises(DataError, match="line 1: "):
            read("how2qa", tmp_path, {"how2QA_val_release.csv": line.replace(wrong, message)})
    with pytest.raises(DataError, match="line 1: the clip needs 0 <= start < end"):
        read("how2qa", tmp_path, {"how2QA_val_release.csv": line.replace("95.13", "60")})


def test_lvu_rows_have_labels_and_no_caption(tmp_path: Path) -> None:
    files = {
        "lvu_1.0/genre/train.csv": "label name id movie\n3 Romance 1aZt tt001\n",
        "lvu_1.0/genre/test.csv": "label name id movie\n1 Action / Crime 1aZt tt001\n",
        "lvu_1.0/like_ratio/val.csv": "likes dislikes id movie\n90 10 2bZt tt002\n",
        "lvu_1.0/view_count/val.csv": "count id movie\n1234 2bZt tt002\n",
        "lvu_1.0/lvu_durations.csv": "videoid,duration\n",
    }
    files["lvu_1.0/genre/test.csv"] = files["lvu_1.0/genre/test.csv"].replace("1aZt", "3cZt")
    rows = read("lvu", tmp_path, files)
    assert rows["genre/1aZt"].meta["label"] == 3
    assert rows["genre/3cZt"].meta["name"] == "Action / Crime"
    assert rows["like_ratio/2bZt"].meta["values"] == [90, 10]
    assert rows["view_count/2bZt"].meta["values"] == [1234]
    assert not any(row.captions for row in rows.values())
    with pytest.raises(DataError, match="line 2: expected a label, a video and one more cell"):
        read("lvu", tmp_path, {"lvu_1.0/genre/train.csv": "h\n3 x\n"})
