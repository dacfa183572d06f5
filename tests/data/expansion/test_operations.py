"""The words of an expansion: what they mean, and what is said about wrong ones."""

from __future__ import annotations

import pytest

from mova.data.expansion.operations import METHODS, parse_operations, plan
from mova.errors import UsageError


def test_words_are_read_with_their_defaults() -> None:
    first, second, third = parse_operations(["integrate:source,min=4 compress", "image:keyframe,of=SVST,name=PICTURES"])
    assert (first.kind, first.method, first.options) == ("integrate", "source", {"min": 4, "max": None})
    assert (second.kind, second.method, second.options) == ("compress", "extractive", {"words": 20})
    assert (third.kind, third.method, third.of, third.name) == ("image", "keyframe", "SVST", "PICTURES")
    assert first.told == "integrate:source,min=4"


def test_addresses_and_keys_are_never_told() -> None:
    (operation,) = parse_operations(["compress:endpoint,url=http://user:secret@host:80/v1?a=b,model=m,key=MY_KEY"])
    assert operation.options["url"] == "http://user:secret@host:80/v1?a=b"
    assert operation.told == "compress:endpoint,words=20,model=m"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "names no operation"),
        ("glue:source", "'glue' in 'glue:source' is no operation"),
        ("integrate:colour", "no way 'colour'"),
        ("integrate:source,least=4", "'least=4' .* no option of integrate:source; there are min="),
        ("integrate:source,min", "'min'"),
        ("integrate:source,min=four", "min= needs a number, not 'four'"),
        ("integrate:source,min=0", "min= must be positive"),
        ("integrate:source,min=5,max=4", "max= is below min="),
        ("integrate:adjacent,gap=nan", "gap= is seconds"),
        ("integrate:random,seed=-1", "seed="),
        ("compress:transformers", "lacks model="),
        ("compress:transformers,model=", "model= must be given"),
        ("image:middle,name=a/b", "name= is made of"),
    ],
)
def test_wrong_words_are_named(words: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_operations([words])


def named(words: str, base: str = "SVST", present: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [(level.name, level.of) for level in plan(parse_operations([words]), base, present)]


def test_granularities_follow_from_the_operations() -> None:
    assert named("integrate compress image:middle,of=SVST") == [("LVLT", "SVST"), ("LVST", "LVLT"), ("IT", "SVST")]
    assert named("integrate compress integrate compress") == [
        ("LVLT", "SVST"),
        ("LVST", "LVLT"),
        ("LVLT2", "LVST"),
        ("LVST2", "LVLT2"),
    ]
    assert named("segments integrate compress", "PARAGRAPH")[0] == ("SVST", "PARAGRAPH")
    assert named("compress") == [("SVST2", "SVST")]
    assert named("integrate:random,of=LVST,name=XL", present=("LVST", "SVST")) == [("XL", "LVST")]
    with pytest.raises(UsageError, match="no granularity 'IT' yet"):
        named("integrate:source,of=IT image")
    assert named("image compress,of=IT compress") == [("IT", "SVST"), ("IT2", "IT"), ("IT3", "IT2")]
    assert named("image,name=PICTURES compress")[1] == ("IT", "PICTURES")
    with pytest.raises(UsageError, match=r"IT are images; .* of="):
        named("image integrate")
    with pytest.raises(UsageError, match=r"no granularity 'SVST' yet; there are CLIP \(of=NAME\)"):
        named("integrate", present=("CLIP",))
    with pytest.raises(UsageError, match="'SVST' is there already"):
        named("integrate:source,name=SVST")


def test_every_kind_has_a_method_that_needs_nothing() -> None:
    for kind in METHODS:
        assert parse_operations([kind])[0].method == next(iter(METHODS[kind]))
