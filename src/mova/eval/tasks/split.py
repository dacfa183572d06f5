"""A model and a manifest's split -> what every task of `mova eval` needs: rows, clips, scores, and who was left out.

Every task encodes each clip once (`eval/tasks/encoding.py`), scores by a named form (`eval/tasks/scoring_forms.py`),
and says in its report which rows could not be measured and why. The fingerprint is of the rows that were measured: a
report on less than all of a split does not compare with one on all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mova.data.manifest import Row, fingerprint, read_manifest
from mova.data.quarantine import without_quarantined
from mova.errors import DataError, UsageError
from mova.eval.protocols import Protocol
from mova.eval.report_figures import Report
from mova.eval.tasks.encoding import GROUP_CLIPS, EncodeRow, Group, Progress, decode_rows, encode_groups
from mova.eval.tasks.scoring_forms import Scoring, ScoringForm
from mova.models.encoder import DualEncoder
from mova.utils.hashing import digest

TEST_SPLIT = "test"


@dataclass(eq=False)
class EvalSplit:
    """One split of a manifest, to be measured with one model.

    Attributes:
        model: encodes; a `DualEncoder`, or whatever else has a name and a fingerprint and fits `encode` and `form`.
        rows: of the split, in the order of the manifest.
        split: its name.
        others: rows of the other splits.
        encode: a row's clip, see `encoding.EncodeRow`.
        form: scores texts against clips.
        frame_rate: frames a second at which clips are looked at, as asked for; None where the model decides.
        progress: told after every clip.
        in_flight: clips held at a time.
        quarantined: ids of rows whose clips are not to be opened; they count as those that cannot be read.
        excluded: id of a row that takes no part -> why.
    """

    model: Any
    rows: list[Row]
    split: str
    others: list[Row]
    encode: EncodeRow
    form: Scoring
    frame_rate: float | None
    progress: Progress | None = None
    in_flight: int = GROUP_CLIPS
    quarantined: frozenset[str] = frozenset()
    excluded: dict[str, str] = field(default_factory=dict)

    @property
    def kept(self) -> list[Row]:
        """Rows that take part, as far as is known by now."""
        return [row for row in self.rows if row.id not in self.excluded]

    def keep(self, usable: Callable[[Row], bool], why: str) -> list[Row]:
        """Exclude rows that this task cannot use, before anything is encoded.

        Raises:
            DataError: no row is left.
        """
        self.excluded |= {row.id: why for row in self.kept if not usable(row)}
        return self._some()

    def select_task(self, task: str) -> None:
        """Leave out rows of other tasks, as if the manifest did not hold them.

        Raises:
            UsageError: no row of the split is of this task.
        """
        known = sorted({str(row.meta["task"]) for row in self.rows if "task" in row.meta})
        if task not in known:
            raise UsageError(
                f"--task {task!r}: split {self.split!r} has none of it; it has {', '.join(known) or 'no tasks'}"
            )
        self.rows, self.others = (
            [row for row in rows if str(row.meta.get("task")) == task] for rows in (self.rows, self.others)
        )

    def groups(self) -> Iterator[Group]:
        """Every clip of the kept rows once; what is quarantined or cannot be read is excluded, with the cause.

        Raises:
            DataError: no row is left.
        """
        self.keep(lambda row: row.id not in self.quarantined, "the quarantine list names it")
        yield from encode_groups(self.kept, self.encode, self.excluded, self.progress, self.in_flight)
        self._some()

    def of(self, protocol: Protocol) -> Protocol:
        """The protocol as it was really followed: `Protocol.incomplete` where rows were excluded."""
        return protocol.incomplete() if self.excluded else protocol

    def about(self, protocol: Protocol, **settings: Any) -> Report:
        """What a report says of the model, the split, the form and the rows that took no part."""
        form = self.form.to_json() if self.form.used else {}
        said = {"split": self.split, "frame_rate": self.frame_rate, **form, **settings}
        if self.form.cut:
            said["texts_cut_by_the_model"] = self.form.cut
        videos = {row.id: " + ".join(part.video for part in row.segments) for row in self.rows}
        return {
            "task": protocol.task,
            "model": {"name": self.model.name, "fingerprint": self.model.fingerprint()},
            "settings": {**self.of(protocol).to_json(), **said},
            "excluded": [{"id": id, "video": videos[id], "cause": why} for id, why in self.excluded.items()],
        }

    def head(
        self,
        protocol: Protocol,
        order: str,
        queries: int,
        candidates: int | None,
        truth: Sequence[str],
        **settings: Any,
    ) -> Report:
        """A report without figures: what `about` says, and what two reports must share to be compared.

        The fingerprint is of ids and captions, and of `truth`: what else stands in the rows that decides what is right.
        """
        return {
            "protocol": self.of(protocol).name,
            "fingerprint": digest([fingerprint(self.kept), *truth]),
            "order": order,
            "queries": queries,
            "candidates": candidates,
            **self.about(protocol, **settings),
        }

    def _some(self) -> list[Row]:
        if not self.kept:
            id, why = next(iter(self.excluded.items()))
            raise DataError(
                f"none of the {len(self.rows)} rows of split {self.split!r} can be measured; the first, {id!r}: {why}"
            )
        return self.kept


def open_split(
    model: DualEncoder,
    manifest: str | Path,
    split: str | None = None,
    *,
    form: str | None = None,
    encode: EncodeRow | None = None,
    fps: float | None = None,
    progress: Progress | None = None,
    quarantine: str | Path | None = None,
) -> EvalSplit:
    """A split of a manifest, ready to be measured.

    Args:
        model: encodes texts, and clips where `encode` is left out.
        manifest: a `.jsonl` file; videos are found beside it.
        split: "test" where there is one, or the only one, if left out.
        form: one of `forms.FORMS`; the model's own (`scoring_form`) if left out.
        encode: gives a row's clip, from a feature store, say; decodes by default.
        fps: frames a second to look at where clips are decoded; the model's own rate if left out.
        progress: told after every clip.
        quarantine: a list of `mova data check`; rows that it names are excluded.

    Raises:
        DataError: the manifest cannot be read.
        UsageError: no such split or form, or several splits and none named.
    """
    encode = encode or decode_rows(model, Path(manifest).resolve().parent, fps)
    rate = model.sampling_rate(fps)
    return make_split(
        model, manifest, split, encode, ScoringForm(model, form or model.scoring_form), rate, progress, quarantine
    )


def make_split(
    model: Any,
    manifest: str | Path,
    split: str | None,
    encode: EncodeRow,
    form: Scoring,
    frame_rate: float | None,
    progress: Progress | None = None,
    quarantine: str | Path | None = None,
    in_flight: int = GROUP_CLIPS,
) -> EvalSplit:
    """A split of a manifest with a model of any kind; see `open_split` and `EvalSplit`."""
    rows = read_manifest(manifest)
    splits = list(dict.fromkeys(row.split for row in rows))
    if split is None and (TEST_SPLIT in splits or len(splits) == 1):
        split = TEST_SPLIT if TEST_SPLIT in splits else splits[0]
    if split not in splits:
        said = "say which --split" if split is None else f"there is no split {split!r}"
        raise UsageError(f"{manifest}: {said}; it has {', '.join(splits)}")
    found: dict[bool, list[Row]] = {True: [], False: []}
    for row in rows:
        found[row.split == split].append(row)
    quarantined = frozenset(without_quarantined(rows, quarantine)[1])
    others = [row for row in found[False] if row.id not in quarantined]
    return EvalSplit(model, found[True], split, others, encode, form, frame_rate, progress, in_flight, quarantined)
