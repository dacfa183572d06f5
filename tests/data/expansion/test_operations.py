"""Parsing of operations: defaults, derived names, error messages."""

from __future__ import annotations

import pytest

from mova.data.expansion.operations import METHODS, parse_operations, plan
from mova.errors import UsageError


def test_operations_are_parsed_with_defaults() -> None:
    first, second, third = parse_operations(["integrate:source,min=4 compress", "image:keyframe,of=SVST,name=PICTURES"])
    assert (first.kind, first.method, first.options) == ("integrate", "source", {"min": 4, "max": None})
    assert (second.kind, second.method, second.options) == ("compress", "extractive", {"words": 20})
    assert (third.kind, third.method, third.of, third.name) == ("image", "keyframe", "SVST", "PICTURES")
    assert first.spec == "integrate:source,min=4"


def test_urls_and_keys_are_omitted_from_the_spec() -> None:
    (operation,) = parse_operations(["compress:endpoint,url=http://user:secret@host:80/v1?a=b,model=m,key=MY_KEY"])
    assert operation.options["url"] == "http://user:secret@host:80/v1?a=b"
    assert operation.spec == "compress:endpoint,words=20,model=m"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "--ops is empty"),
        ("glue:source", "'glue' in 'glue:source' is not an operation"),
        ("integrate:colour", "no method 'colour'"),
        ("integrate:source,least=4", "'least=4' .* not an option of integrate:source; choose from min="),
        ("integrate:source,min", "'min'"),
        ("integrate:source,min=four", "min= must be a number, not 'four'"),
        ("integrate:source,min=0", "min= must be positive"),
        ("integrate:source,min=5,max=4", "max= is below min="),
        ("integrate:adjacent,gap=nan", "gap= must be 0 or more seconds"),
        ("integrate:random,seed=-1", "seed="),
        ("compress:transformers", "requires model="),
        ("compress:transformers,model=", "model= must not be empty"),
        ("image:middle,name=a/b", "name= may have letters"),
    ],
)
def test_errors_name_the_operation(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_operations([words])


def named(words: str, base: str = "SVST", present: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [(level.name, level.of) for level in plan(parse_operations([words]), base, present)]


def test_plan_derives_granularities() -> None:
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
    with pytest.raises(UsageError, match="granularity 'IT' does not exist"):
        named("integrate:source,of=IT image")
    assert named("image compress,of=IT compress") == [("IT", "SVST"), ("IT2", "IT"), ("IT3", "IT2")]
    assert named("image,name=PICTURES compress")[1] == ("IT", "PICTURES")
    with pytest.raises(UsageError, match=r"IT contains images, .* of="):
        named("image integrate")
    with pytest.raises(UsageError, match=r"granularity 'SVST' does not exist at this step; of= can be CLIP"):
        named("integrate", present=("CLIP",))
    with pytest.raises(UsageError, match="'SVST' already exists"):
        named("integrate:source,name=SVST")


def test_the_default_method_needs_no_options() -> None:
    for kind in METHODS:
        assert parse_operations([kind])[0].method == next(iter(METHODS[kind]))
