"""Named protocols: what a figure in a table was measured on and how, as data.

A protocol says split, sizes, caption mode, convention of video-to-text, and tie rule. Post-processing is part of none:
a headline figure is of raw scores. Sizes are those of the public splits; a gallery of another size is another test.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from mova.errors import UsageError

Captions = Literal["one", "first", "paragraph", "each"]
VideoToText = Literal["one", "any-caption", "max-over-captions"]
Task = Literal["retrieval", "entailment", "moments", "classify", "choice"]

TIES = "expected value over random order"


@dataclass(frozen=True)
class Protocol:
    """One way of measuring.

    Attributes:
        name: as `--protocol` takes it.
        data: data set and split.
        task: what is measured: ranks of a matrix, true captions against false ones (and average precision with several
            right videos a text), moments, classes, or multiple choice.
        captions: "one" caption a video; "first", the first of its captions; "paragraph", all its sentences joined;
            "each", every caption is a query.
        video_to_text: "one" where a video has one text; "any-caption", a video is answered by the best ranked of its
            captions; "max-over-captions", a video's score for another is the highest of the other's captions, and
            videos are ranked. With several captions both are reported, this one as v2t.
        texts, videos: sizes (queries or questions, and candidates); None for any.
        note: what a reader must know.
    """

    name: str
    data: str
    task: Task
    captions: Captions
    video_to_text: VideoToText
    texts: int | None
    videos: int | None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """All fields, the tie rule, and that scores are raw."""
        return {**asdict(self), "ties": TIES, "post_processing": "none"}

    def incomplete(self) -> Protocol:
        """The same measured on less than all of it: of another name where the size is part of the protocol."""
        if self.texts is None and self.videos is None:
            return self
        return replace(self, name=f"{self.name}-incomplete", texts=None, videos=None)

    def check_size(self, texts: int, videos: int) -> None:
        """Refuse a matrix of another size.

        Raises:
            UsageError: the sizes differ from those of the protocol.
        """
        wrong = [
            f"{found} {what} instead of {wanted}"
            for what, found, wanted in (("texts", texts, self.texts), ("videos", videos, self.videos))
            if wanted is not None and found != wanted
        ]
        if wrong:
            raise UsageError(
                f"protocol {self.name} ({self.data}) is another test: {', '.join(wrong)}. Rows of a matrix are texts, "
                f"columns videos; for data of your own use {' or '.join(map(repr, OF_ANY_SIZE[self.task]))}"
            )


_ALL = (
    Protocol("pairs", "any, text i belongs to video i", "retrieval", "one", "one", None, None),
    Protocol("paragraphs", "any, the paragraph of each video", "retrieval", "paragraph", "one", None, None),
    Protocol("captions", "any, several captions a video", "retrieval", "each", "any-caption", None, None),
    Protocol(
        "entailment", "any, true and false captions of videos", "entailment", "each", "any-caption", None, None,
        "ROC-AUC over all captions, and how often a true one scores above a false one of the same video.",
    ),
    Protocol("moments", "any, sentences with times", "moments", "each", "one", None, None),
    Protocol("classify", "any, videos with labels", "classify", "one", "one", None, None),
    Protocol("choice", "any, questions with options", "choice", "one", "one", None, None),
    Protocol(
        "msrvtt-1ka", "MSR-VTT 1k-A (JSFusion) test", "retrieval", "one", "one", 1000, 1000,
        "The same 1000 pairs for models trained on 9k or 7k; say which. mteb's MSR-VTT has 879 and is another test.",
    ),
    Protocol(
        "msrvtt-full", "MSR-VTT full test", "retrieval", "each", "max-over-captions", 59800, 2990,
        "20 captions a video.",
    ),
    Protocol(
        "msvd", "MSVD test", "retrieval", "each", "max-over-captions", None, 670,
        "Video-to-text differs by some ten points between the two conventions: never compare across them.",
    ),
    Protocol(
        "activitynet-val1", "ActivityNet Captions val_1", "retrieval", "paragraph", "one", 4917, 4917,
        "val_2 (4885) is another annotation of the validation videos: another test.",
    ),
    Protocol("activitynet-val2", "ActivityNet Captions val_2", "retrieval", "paragraph", "one", 4885, 4885),
    Protocol(
        "didemo", "DiDeMo test", "retrieval", "paragraph", "one", 1004, 1004,
        "CLIP4Clip measures 1003; missing videos change the test: use 'pairs' and say how many are left.",
    ),
    Protocol(
        "videoufo", "VideoUFO, mova's test part", "retrieval", "first", "one", None, None,
        "The detailed captions of a hundredth of the source videos, by a hash of their names; no split is published.",
    ),
    Protocol(
        "ultravideo", "UltraVideo, mova's test part", "retrieval", "first", "one", None, None,
        "The long structured captions of a hundredth of the source videos, by a hash of their names; no split is "
        "published.",
    ),
    Protocol("lsmdc", "LSMDC 2016 public test", "retrieval", "one", "one", 1000, 1000),
    Protocol(
        "ssv2-temporal", "SSv2-Temporal (VideoCon's file)", "entailment", "each", "any-caption", 18, 216,
        "12 right videos a text; mAP, and R@K for one of them.",
    ),
    Protocol(
        "ssv2-events", "SSv2-Events", "entailment", "each", "any-caption", 49, 588,
        "12 right videos a text; mAP, and R@K for one of them.",
    ),
    Protocol(
        "qvhighlights", "QVHighlights val", "moments", "one", "one", 1550, None,
        "Ties stand in the order of the file, as in the original evaluation.",
    ),
    Protocol("charades-sta", "Charades-STA test", "moments", "each", "one", 3720, None),
    Protocol("tacos", "TACoS test (2D-TAN's form)", "moments", "each", "one", 4001, None),
    Protocol("how2qa-val", "How2QA val", "choice", "one", "one", 2852, None),
    Protocol("nextqa-val", "NExT-QA val, multiple choice", "choice", "one", "one", 4996, None),
    Protocol("nextqa-test", "NExT-QA test, multiple choice", "choice", "one", "one", 8564, None),
    Protocol("atp-hard", "ATP-Hard (of NExT-QA val)", "choice", "one", "one", 2269, None),
)  # fmt: skip
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}
OF_ANY_SIZE = {
    task: [each.name for each in _ALL if each.task == task and each.texts is None and each.videos is None]
    for task in get_args(Task)
}
"""Task -> protocols for data of one's own."""


def find_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"{name}: no such protocol; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
