"""English inflection by rule: plurals, verb forms, and the article before a word. Exceptions come from tables."""

from __future__ import annotations

import re
from typing import Literal, get_args

VerbForm = Literal["base", "s", "ing", "past", "participle"]
VERB_FORMS: tuple[VerbForm, ...] = get_args(VerbForm)

_SIBILANT = re.compile(r"(?:s|x|z|ch|sh)$")
_CONSONANT_Y = re.compile(r"[^aeiou]y$")
_SHORT = re.compile(r"^(?:[^aeiou]|qu)*[aeiou][^aeiouwxy]$")
_STRESSED_LAST = frozenset({"begin", "unwrap", "forget"})
_VOWEL_SOUND = re.compile(r"^(?:[aeiou]|hour|honest|heir|[fhlmnrsx]-|8|11\b|18\b)", re.IGNORECASE)
_CONSONANT_SOUND = re.compile(r"^(?:uni(?!n|m)|eu|one\b|once\b|one-|use|usu|uku|ute|ura|u-|ewe)", re.IGNORECASE)


def plural(noun: str) -> str:
    """Return the regular plural of a noun; in a phrase, the last word is inflected.

    >>> plural("lorry"), plural("tennis ball")
    ('lorries', 'tennis balls')
    """
    if _CONSONANT_Y.search(noun):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if _SIBILANT.search(noun) else f"{noun}s"


def verb_forms(verb: str, irregular: dict[str, tuple[str, str]]) -> dict[VerbForm, str]:
    """Return all forms of a verb; a particle ("pick up") stays behind the verb.

    Args:
        verb: base form.
        irregular: base form -> past and participle.

    >>> verb_forms("take away", {"take": ("took", "taken")})["participle"]
    'taken away'
    """
    base, _, particle = verb.partition(" ")
    past, participle = irregular.get(base, (_past(base),) * 2)
    forms: dict[VerbForm, str] = {
        "base": base,
        "s": f"{base}es" if base in ("go", "do") else "has" if base == "have" else plural(base),
        "ing": f"{_before_vowel(base)}ing",
        "past": past,
        "participle": participle,
    }
    return {name: f"{form} {particle}".rstrip() for name, form in forms.items()}


def _past(base: str) -> str:
    if _CONSONANT_Y.search(base):
        return f"{base[:-1]}ied"
    return f"{base}d" if base.endswith("e") else f"{_before_vowel(base)}ed"


def _before_vowel(base: str) -> str:
    """Return the stem before -ing: "run" -> "runn", "ride" -> "rid", "lie" -> "ly"."""
    if base.endswith("ie"):
        return f"{base[:-2]}y"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")):
        return base[:-1]
    return base + base[-1] if _SHORT.match(base) or base in _STRESSED_LAST else base


def article(following: str) -> str:
    """Return "a" or "an", by the sound with which the next word begins.

    >>> article("umbrella"), article("unicycle")
    ('an', 'a')
    """
    return "an" if _VOWEL_SOUND.match(following) and not _CONSONANT_SOUND.match(following) else "a"
