"""Small English lexicons for the rules: which words exclude one another, and how they are inflected.

The tables are in `lexicon/*.txt`; their first lines describe the format. Nouns form groups of co-hyponyms: a car is
not a bus, whereas a lorry is the same as a truck. Adjectives and verbs list the words that contradict them, and the
nouns for which that holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from mova.data.negatives.inflection import VERB_FORMS, VerbForm, plural, verb_forms


@dataclass(frozen=True)
class Noun:
    """A noun.

    Attributes:
        lemma: singular.
        plural: plural.
        group: name of its group of co-hyponyms.
        sense: number shared with its synonyms and hyponyms.
        fixed: the noun is recognized and never replaced.
    """

    lemma: str
    plural: str
    group: str
    sense: int
    fixed: bool

    def form(self, is_plural: bool) -> str:
        """Return the plural or the singular."""
        return self.plural if is_plural else self.lemma


@dataclass(frozen=True)
class Contrast:
    """Words that contradict a word.

    Attributes:
        words: synonyms to which this entry applies.
        targets: words that contradict each of them.
        frame: syntactic frame of a verb, "i", "i0" or "t" (see `lexicon/verbs.txt`); "" for an adjective.
        nouns: groups (or a word of a group's name) and lemmas of the nouns it applies to; empty for any noun.
        excluded: groups and lemmas of nouns that it does not apply to.
    """

    words: tuple[str, ...]
    targets: tuple[str, ...]
    frame: str = ""
    nouns: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()

    def allows(self, noun: Noun | None) -> bool:
        """Return whether the entry applies with a noun; None means an unknown noun."""
        names = set() if noun is None else {*noun.group.split(), noun.lemma}
        return not names & self.excluded and (not self.nouns or bool(names & self.nouns))


@dataclass(frozen=True)
class Addition:
    """A thing with its article and an activity: "a goat", "standing nearby"."""

    thing: str
    doing: str


@dataclass(frozen=True)
class Lexicon:
    """All tables.

    Attributes:
        nouns: form -> noun, and whether the form is plural (None if it is both).
        groups: name -> nouns that may replace each other, those of one sense together.
        adjectives: word -> contrasts.
        verbs: base form, with its particle if any -> contrasts.
        verb_forms: base form -> all forms of that verb.
        verbs_by_form: form without particle -> (base form, form) readings.
        additions: phrases that a hallucination may add.
    """

    nouns: dict[str, tuple[Noun, bool | None]] = field(default_factory=dict)
    groups: dict[str, list[Noun]] = field(default_factory=dict)
    adjectives: dict[str, list[Contrast]] = field(default_factory=dict)
    verbs: dict[str, list[Contrast]] = field(default_factory=dict)
    verb_forms: dict[str, dict[VerbForm, str]] = field(default_factory=dict)
    verbs_by_form: dict[str, set[tuple[str, VerbForm]]] = field(default_factory=dict)
    additions: list[Addition] = field(default_factory=list)

    def sense(self, word: str) -> str:
        """Return a label that synonyms share; the word itself if it is not in the lexicon.

        >>> lexicon().sense("truck") == lexicon().sense("lorry")
        True
        """
        word = word.lower()
        if word in self.nouns:
            return f"noun {self.nouns[word][0].sense}"
        if word in self.adjectives:
            return f"adjective {self.adjectives[word][0].words[0]}"
        for base, _ in sorted(self.verbs_by_form.get(word, ())):
            if base in self.verbs:
                return f"verb {self.verbs[base][0].words[0]}"
        return word


@cache
def lexicon() -> Lexicon:
    """Return the lexicon of this package, read once."""
    tables = Lexicon()
    for sense, (group, fixed, synonyms) in enumerate(_noun_senses()):
        for word in synonyms:
            lemma, _, irregular = word.partition("/")
            noun = Noun(lemma, irregular or plural(lemma), group, sense, fixed)
            if lemma in tables.nouns:
                continue
            tables.nouns[lemma] = (noun, None if noun.plural == lemma else False)
            tables.nouns.setdefault(noun.plural, (noun, True))
            if not fixed:
                tables.groups.setdefault(group, []).append(noun)
    for contrast in map(_parse_contrast, _lines("adjectives")):
        for word in contrast.words:
            tables.adjectives.setdefault(word, []).append(contrast)
    contrasts = [_parse_contrast(line) for line in _lines("verbs")]
    for contrast in contrasts:
        for word in contrast.words:
            tables.verbs.setdefault(word, []).append(contrast)
    irregular_verbs = {base: (past, participle) for base, past, participle in map(str.split, _lines("irregular_verbs"))}
    known = {word for line in _lines("known_verbs") for word in line.split()}
    for base in sorted(known.union(*((*c.words, *c.targets) for c in contrasts))):
        forms = tables.verb_forms[base] = verb_forms(base, irregular_verbs)
        for name in VERB_FORMS:
            tables.verbs_by_form.setdefault(forms[name].split()[0], set()).add((base.split()[0], name))
    tables.additions.extend(Addition(*map(str.strip, line.split("|"))) for line in _lines("additions"))
    return tables


def _noun_senses() -> Iterator[tuple[str, bool, list[str]]]:
    """Yield the group, whether it is fixed, and the synonyms of each sense."""
    for line in _lines("nouns"):
        name, _, rest = line.partition(":")
        for sense in rest.split("|"):
            yield name.rstrip("!"), name.endswith("!"), [word.strip() for word in sense.split(",") if word.strip()]


def _parse_contrast(line: str) -> Contrast:
    words, _, rest = line.partition(">")
    targets, _, condition = rest.partition("|")
    marks = condition.split()
    frame = marks.pop(0) if marks and marks[0] in ("i", "i0", "t") else ""
    return Contrast(
        tuple(map(str.strip, words.split(","))),
        tuple(map(str.strip, targets.split(","))),
        frame,
        frozenset(mark for mark in marks if not mark.startswith("-")),
        frozenset(mark[1:] for mark in marks if mark.startswith("-")),
    )


def _lines(name: str) -> list[str]:
    """Return the lines of a table without blank lines and comments."""
    text = files("mova.data.negatives").joinpath("lexicon", f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]
