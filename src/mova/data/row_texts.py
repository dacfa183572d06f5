"""Texts of a row: its captions by mode, and its classes and options by templates that training and evaluation share.

`meta["label"]` or `meta["actions"]` of a row has its classes (LVU, COIN, Charades-Ego); `meta["question"]`, `options`
and `answer` are a multiple-choice question (How2QA, NExT-QA). A template turns them into the text that a model reads.

Shape legend: Y classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.data.manifest import Caption, Row
from mova.errors import DataError, UsageError
from mova.text.sentences import split_sentences

CAPTIONS = {
    "paragraph": "one item per row: a random caption of several sentences, drawn each epoch (any caption if none has)",
    "first": "one item per row: its first caption, such as VideoUFO's detailed one",
    "caption": "one item per caption, such as the forty of an MSVD video",
    "sentence": "one item per row: a random sentence of its captions, drawn each epoch, with the whole clip",
    "clip": "one item per sentence with known times, with the frames of those times",
    "answer": "one item per multiple-choice question: the question and its correct option, by a template",
    "action": "one item per row with classes: a random one of them, drawn each epoch, by a template",
}
"""Caption mode -> the text and the frames of an item."""
NEEDED = {**dict.fromkeys(CAPTIONS, "captions"), "answer": "options", "action": "classes"}
"""Caption mode -> what a row needs for it."""
OPTION = "{question} {option}"
"""Default text of an option: question and answer, as in GEXIA for How2QA (arXiv 2412.07704, section 4.3)."""
NOUN = "A video of a {label}."
"""Default text of a class whose name is a noun, as in GEXIA for images (App. F)."""
PHRASE = "{label}"
"""Default text of a class if a video has several, as actions do: their names are phrases (Charades-Ego)."""
DEFAULT_KEY = "label"
"""Default key of `meta` for classes."""


def require_mode(captions: str, template: str | None = None) -> None:
    """Raise for a caption mode that does not exist, or a template that does not fit it.

    Raises:
        UsageError: it does not.

    >>> require_mode("answer", "{question} {option}")
    """
    if captions not in CAPTIONS:
        known = "; ".join(f"{name} ({meaning})" for name, meaning in CAPTIONS.items())
        raise UsageError(f"captions: unknown mode {captions!r}; choose from {known}")
    if template is not None:
        field = {"answer": "{option}", "action": "{label}"}.get(captions)
        if field is None:
            raise UsageError(f"template {template!r}: captions {captions!r} are used as they are; omit the template")
        if field not in template:
            raise UsageError(f"template {template!r}: needs {field}")


def has_text(row: Row, captions: str) -> bool:
    """Return whether a row has a text in a caption mode.

    >>> has_text(Row("a", "a.mp4", None, "train", (), meta={"label": ["dog"]}), "action")
    True
    """
    if captions == "answer":
        return "options" in row.meta
    return bool(row_labels(row) if captions == "action" else row.captions)


class RowTexts:
    """Draws the texts of rows in a caption mode.

    Args:
        rows: all rows; their classes are numbered.
        captions: one of `CAPTIONS`.
        template: text of an option (`answer`) or a class (`action`). Default: `OPTION`, or `PHRASE`.

    Attributes:
        class_names: names of the classes, sorted; empty unless the mode is `action`.

    >>> row = Row("a", "a.mp4", None, "train", (), meta={"label": ["opening a door"]})
    >>> RowTexts([row], "action").draw(row, 0, 0, np.random.default_rng(0))
    ('opening a door', 0)
    """

    def __init__(self, rows: Sequence[Row], captions: str, template: str | None = None) -> None:
        self.captions = captions
        self.template = template or {"answer": OPTION, "action": PHRASE}.get(captions, "")
        names = {name for row in rows for name in row_labels(row) or ()} if captions == "action" else set()
        self.class_names = sorted(names)
        self._index_of = {name: index for index, name in enumerate(self.class_names)}

    def draw(self, row: Row, caption: int, sentence: int, rng: np.random.Generator) -> tuple[str, int]:
        """Return the text of an item, and the index of the class that it names (-1: none).

        Args:
            row: the item's row.
            caption, sentence: the item's indices within the row, for modes that do not draw.
            rng: for modes that do.
        """
        if self.captions == "clip":
            return row.captions[caption].sentences[sentence].text, -1
        if self.captions in ("caption", "first"):
            return row.captions[caption].text, -1
        if self.captions == "answer":
            return answer_text(row, self.template), -1
        if self.captions == "action":
            names = row_labels(row) or ()
            name = names[int(rng.integers(len(names)))]
            return class_text(name, self.template), self._index_of[name]
        return _draw_paragraph(row, rng) if self.captions == "paragraph" else _draw_sentence(row, rng), -1

    def classes_of(self, row: Row) -> npt.NDArray[np.bool_]:
        """Return the classes of a row: bool, (Y,)."""
        classes = np.zeros(len(self.class_names), dtype=bool)
        classes[[self._index_of[name] for name in row_labels(row) or ()]] = True
        return classes


def option_texts(row: Row, template: str = OPTION) -> list[str]:
    """Return the texts of a question's options, in order.

    Args:
        row: has `options` and `answer` in `meta`, and usually `question`.
        template: text of an option, with `{option}` and optionally `{question}`.

    Raises:
        UsageError: the template has other fields, or no option.
        DataError: the row has fewer than two options, or its answer is not one of them.

    >>> meta = {"question": "Who runs?", "options": ["a cat", "a dog"], "answer": 1}
    >>> option_texts(Row("a", "a.mp4", None, "train", (), meta=meta))
    ['Who runs? a cat', 'Who runs? a dog']
    """
    if "{option}" not in template:
        raise UsageError(f"--template {template!r}: needs {{option}}")
    options, answer = row.meta.get("options"), row.meta.get("answer")
    if not isinstance(options, list) or len(options) < 2 or not all(isinstance(text, str) for text in options):
        raise DataError(f"row {row.id!r}: meta.options must be a list of at least two texts")
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(options):
        raise DataError(f"row {row.id!r}: meta.answer must be 0 to {len(options) - 1}, not {answer!r}")
    return [_filled(template, {"question": row.meta.get("question", ""), "option": text}) for text in options]


def answer_text(row: Row, template: str = OPTION) -> str:
    """Return the text of the correct option; see `option_texts`.

    >>> meta = {"question": "Who runs?", "options": ["a cat", "a dog"], "answer": 1}
    >>> answer_text(Row("a", "a.mp4", None, "train", (), meta=meta))
    'Who runs? a dog'
    """
    return option_texts(row, template)[row.meta["answer"]]


def class_text(label: str, template: str = NOUN) -> str:
    """Return the text of a class.

    Raises:
        UsageError: the template lacks `{label}`.

    >>> class_text("dog")
    'A video of a dog.'
    """
    if "{label}" not in template:
        raise UsageError(f"--template {template!r}: needs {{label}}")
    return template.replace("{label}", label)


def row_labels(row: Row, key: str = DEFAULT_KEY) -> tuple[str, ...] | None:
    """Return the distinct class names of a row; empty if several are allowed and it has none; None if not labelled.

    `meta[key]` is a class, as text or number, or a list of classes; objects in a list have "name" or "class". For the
    default key, `meta["name"]` is the name of a single class (LVU has numbers and names), and `meta["actions"]` is used
    if the key is missing (Charades-Ego).

    Raises:
        DataError: the value has another form.

    >>> row_labels(Row("a", "a.mp4", None, "test", (), meta={"label": 3, "name": "scuba diving"}))
    ('scuba diving',)
    """
    key, value = _labels_value(row, key)
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return tuple(dict.fromkeys(_class_name(row, key, item) for item in value))
    return (_class_name(row, key, (row.meta.get("name") or value) if key == DEFAULT_KEY else value),)


def has_several(row: Row, key: str = DEFAULT_KEY) -> bool:
    """Return whether the row's labels are a list, so that a video may have several classes or none.

    >>> has_several(Row("a", "a.mp4", None, "test", (), meta={"label": ["dog", "cat"]}))
    True
    """
    return isinstance(_labels_value(row, key)[1], list)


def _labels_value(row: Row, key: str) -> tuple[str, Any]:
    """Return the key of `meta` with a row's classes, and its value."""
    if key == DEFAULT_KEY and row.meta.get(DEFAULT_KEY) is None and "actions" in row.meta:
        if not isinstance(row.meta["actions"], list):
            raise DataError(f'row {row.id!r}: meta.actions must be a list of {{"class": ..., "name": ...}}')
        return "actions", row.meta["actions"]
    return key, row.meta.get(key)


def _class_name(row: Row, key: str, value: Any) -> str:
    name = (value.get("name") or value.get("class")) if isinstance(value, dict) else value
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise DataError(f"row {row.id!r}: meta.{key} must be names or numbers of classes, not {value!r:.80}")
    return str(name)


def _filled(template: str, fields: Mapping[str, Any]) -> str:
    try:
        return template.format(**fields).strip()
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        known = ", ".join(f"{{{name}}}" for name in fields)
        raise UsageError(f"--template {template!r}: the only fields are {known}") from error


def _draw_paragraph(row: Row, rng: np.random.Generator) -> str:
    """Draw a caption with several sentences, or any caption if none has, and return its text."""
    captions: Sequence[Caption] = [caption for caption in row.captions if len(caption.sentences) > 1] or row.captions
    return captions[int(rng.integers(len(captions)))].text


def _draw_sentence(row: Row, rng: np.random.Generator) -> str:
    """Draw one sentence of the row; captions without listed sentences are split by rules."""
    texts = [
        text
        for caption in row.captions
        for text in ([sentence.text for sentence in caption.sentences] or split_sentences(caption.text))
    ]
    return texts[int(rng.integers(len(texts)))]
