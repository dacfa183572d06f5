"""Small English lexicons for rules on captions: which words exclude one another, and how they are inflected.

The tables lie in `lexicon/*.txt`; their first lines say how they are read. Nouns stand in groups of co-hyponyms: a car
is no bus, and a lorry is the same as a truck. Adjectives and verbs name what contradicts them, and of which nouns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from mova.data.negatives.inflection import VERB_FORMS, VerbForm, plural, verb_forms


@dataclass(frozen=True)
class Noun:
    """A noun: `group` of co-hyponyms, `sense` shared by synonyms and kinds, `fixed` where it is never exchanged."""

    lemma: str
    plural: str
    group: str
    sense: int
    fixed: bool

    def form(self, many: bool) -> str:
        """Plural or singular."""
        return self.plural if many else self.lemma


@dataclass(frozen=True)
class Contrast:
    """What contradicts a word.

    Attributes:
        words: synonyms this holds for.
        targets: what excludes each of them.
        frame: of a verb, "i", "i0" or "t"; "" of an adjective.
        nouns: groups (or a word of their names) and lemmas of the noun that it may stand with; empty for any.
        barred: groups and lemmas that it may not stand with.
    """

    words: tuple[str, ...]
    targets: tuple[str, ...]
    frame: str = ""
    nouns: frozenset[str] = frozenset()
    barred: frozenset[str] = frozenset()

    def suits(self, noun: Noun | None) -> bool:
        """Whether it may stand with a noun; None for one that is not known."""
        names = set() if noun is None else {*noun.group.split(), noun.lemma}
        return not names & self.barred and (not self.nouns or bool(names & self.nouns))


@dataclass(frozen=True)
class Addition:
    """A thing with its article, and what it does: "a goat", "standing nearby"."""

    thing: str
    doing: str


@dataclass(frozen=True)
class Lexicon:
    """All tables.

    Attributes:
        nouns: form -> noun and whether the form is plural; None for a form that is both.
        groups: name -> nouns that may be exchanged for each other, those of one sense together.
        adjectives: word -> contrasts.
        verbs: base form, with a particle where there is one -> contrasts.
        verb_forms: base form -> its forms, of every verb here.
        verbs_by_form: form without particle -> base forms and which form it is.
        additions: what a hallucination may add.
    """

    nouns: dict[str, tuple[Noun, bool | None]] = field(default_factory=dict)
    groups: dict[str, list[Noun]] = field(default_factory=dict)
    adjectives: dict[str, list[Contrast]] = field(default_factory=dict)
    verbs: dict[str, list[Contrast]] = field(default_factory=dict)
    verb_forms: dict[str, dict[VerbForm, str]] = field(default_factory=dict)
    verbs_by_form: dict[str, set[tuple[str, VerbForm]]] = field(default_factory=dict)
    additions: list[Addition] = field(default_factory=list)

    def sense(self, word: str) -> str:
        """A name that synonyms share; the word itself where it has none here."""
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
    """The lexicon of this package, read once."""
    found = Lexicon()
    for sense, (group, fixed, entry) in enumerate(_noun_senses()):
        for each in entry:
            lemma, _, irregular = each.partition("/")
            noun = Noun(lemma, irregular or plural(lemma), group, sense, fixed)
            if lemma in found.nouns:
                continue
            found.nouns[lemma] = (noun, None if noun.plural == lemma else False)
            found.nouns.setdefault(noun.plural, (noun, True))
            if not fixed:
                found.groups.setdefault(group, []).append(noun)
    for contrast in map(_contrast, _lines("adjectives")):
        for word in contrast.words:
            found.adjectives.setdefault(word, []).append(contrast)
    contrasts = [_contrast(line) for line in _lines("verbs")]
    for contrast in contrasts:
        for word in contrast.words:
            found.verbs.setdefault(word, []).append(contrast)
    irregular_verbs = {base: (past, participle) for base, past, participle in map(str.split, _lines("irregular_verbs"))}
    known = {word for line in _lines("known_verbs") for word in line.split()}
    for base in sorted(known.union(*((*c.words, *c.targets) for c in contrasts))):
        forms = found.verb_forms[base] = verb_forms(base, irregular_verbs)
        for name in VERB_FORMS:
            found.verbs_by_form.setdefault(forms[name].split()[0], set()).add((base.split()[0], name))
    found.additions.extend(Addition(*map(str.strip, line.split("|"))) for line in _lines("additions"))
    return found


def _noun_senses() -> Iterator[tuple[str, bool, list[str]]]:
    """Group, whether it is fixed, and the synonyms of each sense. In fixed groups every sense stands alone."""
    for line in _lines("nouns"):
        name, _, rest = line.partition(":")
        for sense in rest.split("|"):
            yield name.rstrip("!"), name.endswith("!"), [word.strip() for word in sense.split(",") if word.strip()]


def _contrast(line: str) -> Contrast:
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
    """Lines of a table that say something."""
    text = files("mova.data.negatives").joinpath("lexicon", f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]
