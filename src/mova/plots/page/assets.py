"""Style sheets and scripts of the pages that mova writes: all share one palette with the pages that it serves."""

from __future__ import annotations

from pathlib import Path

PALETTE = Path(__file__).with_name("palette.css")
"""Colors, radii and fonts."""


def style_and_script(path: Path) -> tuple[str, str]:
    """Return the style sheet (with the palette before it) and the script beside `path`, of the same name.

    >>> style, script = style_and_script(PALETTE.with_name("page.css"))
    >>> style.count("color-scheme: light dark"), "addEventListener" in script
    (1, True)
    """
    style = path.with_suffix(".css").read_text(encoding="utf-8")
    return f"{PALETTE.read_text(encoding='utf-8')}\n{style}", path.with_suffix(".js").read_text(encoding="utf-8")
