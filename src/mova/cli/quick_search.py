"""`mova search` by a running service, without the libraries of the command line: few imports, so that it starts fast.

The service prints the answer as the command would (`mova.cli.answer_output`), for the terminal that is described to it.
Everything unusual (an unknown option, a value that cannot be read, no service, an error) is left to the whole command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mova.cli.user_settings import DEFAULT_INDEX, apply_config
from mova.errors import MovaError
from mova.search.cold.service import NAME, ask

DEFAULT_COUNT = 10
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal, as shells have it."""


def _at_least(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        """Return the value of an option."""
        if int(text) < least:
            raise ValueError(text)
        return int(text)

    return read


def _order(text: str) -> str:
    if text not in ("auto", "yes", "no"):
        raise ValueError(text)
    return text


VALUES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "--index": ("index", str),
    "-k": ("k", _at_least(1)),
    "--top": ("k", _at_least(1)),
    "--after": ("after", str),
    "--before": ("before", str),
    "--longer": ("longer", str),
    "--shorter": ("shorter", str),
    "--page": ("page", _at_least(1)),
    "--skip": ("skip", _at_least(0)),
    "--pad": ("pad", str),
    "--min-length": ("min_length", str),
    "--min-score": ("min_score", float),
    "--rescore": ("rescore", str),
    "--false-alarm": ("false_alarm", float),
    "--order": ("order", _order),
    "--folder": ("folders", str),
}
"""Option with a value -> its name, and how its value is read (ValueError: not here)."""
FLAGS = {"--json": "json", "--one-per-video": "one_per_video", "--dedupe": "dedupe"}
FILTER = ("folders", "after", "before", "longer", "shorter", "one_per_video", "dedupe")
UNUSUAL = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "JUPYTER_COLUMNS", "JUPYTER_LINES", "_MOVA_COMPLETE")
"""Variables with which output, or the command, is another one."""
APPEARANCE = ("TERM", "COLORTERM", "NO_COLOR")
"""Variables that decide the colors."""


def print_by_service(words: Sequence[str]) -> bool:
    """Print what `mova search` prints; return False if nothing was printed, because the whole command is needed.

    Args:
        words: behind `mova search`.
    """
    try:
        printed = _asked(words)
    except (MovaError, OSError, RuntimeError, ValueError, LookupError, TypeError):
        return False
    except KeyboardInterrupt:
        sys.stderr.write("mova: stopped\n")
        raise SystemExit(INTERRUPTED) from None
    if printed is None:
        return False
    try:
        _write(printed)
    except OSError as error:
        sys.stderr.write(f"mova: {error.strerror}\n")
        raise SystemExit(1) from None
    return True


def _asked(words: Sequence[str]) -> list[tuple[str, str]] | None:
    """Return what the service of the index prints, as ("out" or "err", text); None if the whole command is needed.

    Raises:
        Exception: likewise.
    """
    given = read_words(words)
    screen = _screen()
    if given is None or screen is None:
        return None
    apply_config()
    folder = Path(given.pop("index", None) or os.environ.get("MOVA_INDEX") or DEFAULT_INDEX).expanduser()
    if "://" in str(folder) or not (folder / NAME).exists():
        return None
    reply = ask(folder, {**_request(given), "screen": {**screen, "json": given.get("json", False)}})
    return None if reply is None else [(str(stream), str(text)) for stream, text in reply["printed"]]


def read_words(words: Sequence[str]) -> dict[str, Any] | None:
    """Return the values of the options that are used, and `text`; None if the whole command has to read the words.

    Raises:
        ValueError: a value cannot be read; the whole command says so.

    >>> read_words(["a", "red", "star", "-k", "3", "--json", "--folder=a", "--folder", "b"])
    {'k': 3, 'json': True, 'folders': ['a', 'b'], 'text': 'a red star'}
    >>> read_words(["a", "--like", "film.mp4@1:23"]), read_words([]), read_words(["a", "--index=b", "--index=c"])
    (None, None, None)
    """
    given: dict[str, Any] = {}
    text: list[str] = []
    left = iter(words)
    for word in left:
        option, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if not word.startswith("-"):
            text.append(word)
        elif word in FLAGS:
            given[FLAGS[word]] = True
        elif option in VALUES:
            name, read = VALUES[option]
            value = value if equals else next(left, "-")
            if value.startswith("-") or (name == "index" and given.get(name, value) != value):
                return None
            given[name] = [*given.get(name, []), value] if name == "folders" else read(value)
        else:
            return None
    given["text"] = " ".join(text)
    return given if given["text"] and not ("page" in given and "skip" in given) else None


def _request(given: dict[str, Any]) -> dict[str, Any]:
    """Return the request to a service (`mova.search.cold.asked`)."""
    k = given.get("k", DEFAULT_COUNT)
    return {
        "text": given["text"],
        "k": k,
        "filter": {name: given[name] for name in FILTER if name in given},
        "trim": {"pad": given.get("pad", "0"), "min_length": given.get("min_length")},
        "start": os.getcwd(),
        "min_score": given.get("min_score"),
        "rescore": given.get("rescore", "auto"),
        "false_alarm": given.get("false_alarm", 0.05),
        "order": given.get("order", "auto"),
        "skip": (given["page"] - 1) * k if "page" in given else given.get("skip", 0),
    }


def _screen() -> dict[str, Any] | None:
    """Describe where the output goes; None if that is unusual."""
    streams = [
        stream for stream in (sys.stdout, sys.stderr) if stream is not None and stream.encoding.lower() == "utf-8"
    ]
    if len(streams) < 2 or any(name in os.environ for name in UNUSUAL):
        return None
    terminals = [stream.isatty() for stream in streams]
    if any(terminals) and (os.name == "nt" or os.environ.get("TERM", "").lower() in ("dumb", "unknown")):
        return None
    appearance = {name: os.environ[name] for name in APPEARANCE if name in os.environ}
    return {"terminals": terminals, "columns": _columns(), "environment": appearance}


def _columns() -> int:
    """Return the width of the terminal, found as Rich finds it."""
    if os.environ.get("COLUMNS", "").isdigit():
        return int(os.environ["COLUMNS"])
    for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                return os.get_terminal_size(stream.fileno()).columns or 80
        except (OSError, ValueError):
            continue
    return 80


def _write(printed: Sequence[tuple[str, str]]) -> None:
    """Write the parts of the output, in order. A reader that has gone is ignored.

    Raises:
        OSError: the output cannot be written.
    """
    try:
        for stream, text in printed:
            target = sys.stdout if stream == "out" else sys.stderr
            target.write(text)
            target.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that Python has no error at its end
