"""Named evaluation protocols, as data.

A protocol fixes split, sizes, caption mode, video-to-text convention and treatment of ties. None includes
post-processing: headline figures are of raw scores. Sizes are those of the public splits; a gallery of another size is
a different test.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from mova.errors import UsageError

Captions = Literal["one", "first", "paragraph", "each"]
VideoToText = Literal["one", "any-caption", "max-over-captions"]
Task = Literal["retrieval", "entailment", "moments", "classify", "choice", "ratings"]

TIES = "expected value over random order"


@dataclass(frozen=True)
class Protocol:
    """One evaluation protocol.

    Attributes:
        name: for `--protocol`.
        data: data set and split.
        task: retrieval (ranks in a matrix), entailment (true captions against false ones, and average precision with
            several right videos per text), moments, classify, choice, or ratings (agreement of scores with people).
        captions: "one" caption per video; "first", the first of its captions; "paragraph", all its sentences joined;
            "each", every caption is a query.
        video_to_text: "one": one text per video; "any-caption": the best ranked caption of a video counts;
            "max-over-captions": videos are ranked by the best score of their captions. With several captions both are
            reported, this one as v2t.
        texts, videos: sizes (queries or questions, and candidates); None for any.
        note: a caveat for readers.

    >>> protocol = PROTOCOLS["didemo"]
    >>> protocol.captions, protocol.texts, protocol.incomplete().name
    ('paragraph', 1004, 'didemo-incomplete')
    >>> protocol.check_size(1003, 1003)
    Traceback (most recent call last):
        ...
    mova.errors.UsageError: protocol didemo (DiDeMo test) is a different test: 1003 texts instead ...
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
        """Return all fields, the treatment of ties, and that scores are raw."""
        return {**asdict(self), "ties": TIES, "post_processing": "none"}

    def incomplete(self) -> Protocol:
        """Return the protocol for part of the data: it has another name if the size is part of the protocol."""
        if self.texts is None and self.videos is None:
            return self
        return replace(self, name=f"{self.name}-incomplete", texts=None, videos=None)

    def check_size(self, texts: int, videos: int) -> None:
        """Refuse data of another size.

        Raises:
            UsageError: the sizes differ from those of the protocol.
        """
        wrong = [
            f"{size} {kind} instead of {expected}"
            for kind, size, expected in (("texts", texts, self.texts), ("videos", videos, self.videos))
            if expected is not None and size != expected
        ]
        if wrong:
            raise UsageError(
                f"protocol {self.name} ({self.data}) is a different test: {', '.join(wrong)}. Rows of a matrix are "
                f"texts, columns are videos; for your own data use {' or '.join(map(repr, OF_ANY_SIZE[self.task]))}"
            )


_ALL = (
    Protocol("pairs", "any, text i belongs to video i", "retrieval", "one", "one", None, None),
    Protocol("paragraphs", "any, the paragraph of each video", "retrieval", "paragraph", "one", None, None),
    Protocol("captions", "any, several captions per video", "retrieval", "each", "any-caption", None, None),
    Protocol(
        "entailment", "any, true and false captions of videos", "entailment", "each", "any-caption", None, None,
        "ROC-AUC over all captions, and how often a true one scores above a false one of the same video.",
    ),
    Protocol("moments", "any, sentences with times", "moments", "each", "one", None, None),
    Protocol("classify", "any, videos with labels", "classify", "one", "one", None, None),
    Protocol("choice", "any, questions with options", "choice", "one", "one", None, None),
    Protocol(
        "ratings", "any, generated videos with ratings by people", "ratings", "one", "one", None, None,
        "Score files only. Pairwise accuracy counts a tie of ratings as right if the scores tie too.",
    ),
    Protocol(
        "msrvtt-1ka", "MSR-VTT 1k-A (JSFusion) test", "retrieval", "one", "one", 1000, 1000,
        "The same 1000 pairs for models trained on 9k or 7k; report which. mteb's MSR-VTT has 879: a different test.",
    ),
    Protocol(
        "msrvtt-full", "MSR-VTT full test", "retrieval", "each", "max-over-captions", 59800, 2990,
        "20 captions per video.",
    ),
    Protocol(
        "msvd", "MSVD test", "retrieval", "each", "max-over-captions", None, 670,
        "Video-to-text differs by some ten points between the two conventions: never compare across them.",
    ),
    Protocol(
        "activitynet-val1", "ActivityNet Captions val_1", "retrieval", "paragraph", "one", 4917, 4917,
        "val_2 (4885) is another annotation of the validation videos, so a different test.",
    ),
    Protocol("activitynet-val2", "ActivityNet Captions val_2", "retrieval", "paragraph", "one", 4885, 4885),
    Protocol(
        "didemo", "DiDeMo test", "retrieval", "paragraph", "one", 1004, 1004,
        "CLIP4Clip uses 1003; missing videos change the test: use 'pairs' and report how many remain.",
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
        "12 right videos per text; mAP, and R@K for the first of them.",
    ),
    Protocol(
        "ssv2-events", "SSv2-Events", "entailment", "each", "any-caption", 49, 588,
        "12 right videos per text; mAP, and R@K for the first of them.",
    ),
    Protocol("videocon-human", "VideoCon Human", "entailment", "each", "any-caption", 570, 570),
    Protocol("videocon-human-hard", "VideoCon Human-Hard", "entailment", "each", "any-caption", 290, 290),
    Protocol(
        "qvhighlights", "QVHighlights val", "moments", "one", "one", 1550, None,
        "Ties keep the order of the file, as in the original evaluation.",
    ),
    Protocol(
        "activitynet-moments", "ActivityNet Captions val_2, sentences", "moments", "paragraph", "one", 17031, 4885,
        "With or without --paragraph. val_1 (17,505 sentences) is another annotation of the validation videos.",
    ),
    Protocol("charades-sta", "Charades-STA test", "moments", "each", "one", 3720, None),
    Protocol("tacos", "TACoS test (2D-TAN's form)", "moments", "each", "one", 4001, None),
    Protocol(
        "htm-align", "HTM-Align", "moments", "paragraph", "one", None, 80,
        "With --paragraph. All sentences are aligned; the recall is over the alignable ones.",
    ),
    Protocol("how2qa-val", "How2QA val", "choice", "one", "one", 2852, None),
    Protocol("nextqa-val", "NExT-QA val, multiple choice", "choice", "one", "one", 4996, None),
    Protocol("nextqa-test", "NExT-QA test, multiple choice", "choice", "one", "one", 8564, None),
    Protocol("atp-hard", "ATP-Hard (of NExT-QA val)", "choice", "one", "one", 2269, None),
    Protocol(
        "atp-hard-statements", "ATP-Hard, options as statements (VideoCon)", "choice", "one", "one", 1846, None,
        "VideoCon's own evaluation counts 1,844 of them.",
    ),
)  # fmt: skip
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}
OF_ANY_SIZE = {
    task: [p.name for p in _ALL if p.task == task and p.texts is None and p.videos is None] for task in get_args(Task)
}
"""Task -> protocols for any data."""


def find_protocol(name: str) -> Protocol:
    """Return the protocol of a name.

    >>> find_protocol("didemo").texts
    1004

    Raises:
        UsageError: unknown protocol.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"{name}: no such protocol; choose one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
