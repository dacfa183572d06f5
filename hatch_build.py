"""Metadata of the wheel that depends on where the project is published: its URLs, and a README with absolute links.

The address is that of the variable MOVA_REPOSITORY, else of the git remote "origin". Without either, the wheel has no
URLs, and the links of its README stay relative.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?://|#|mailto:)([^)\s]+)\)")


class PublishedMetadata(MetadataHookInterface):
    """Fills in `urls` and `readme`, which pyproject.toml declares as dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add both fields."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        address = repository(Path(self.root))
        if address:
            metadata["urls"] = urls(address)
            text = with_absolute_links(text, address)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def repository(root: Path) -> str:
    """Return the web address of the repository; empty if it is not known."""
    address = os.environ.get("MOVA_REPOSITORY", "")
    if not address and (root / ".git").exists():
        command = ["git", "-C", str(root), "remote", "get-url", "origin"]
        address = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    address = re.sub(r"^git@([^:]+):", r"https://\1/", address).removesuffix("/").removesuffix(".git")
    return address if address.startswith(("https://", "http://")) else ""


def urls(address: str) -> dict[str, str]:
    """Return the links that package indexes show."""
    return {
        "Source": address,
        "Documentation": f"{address}/blob/main/docs/index.md",
        "Changelog": f"{address}/blob/main/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }


def with_absolute_links(text: str, address: str) -> str:
    """Return Markdown in which links to files of the repository, and pictures, are absolute."""

    def absolute(match: re.Match[str]) -> str:
        mark, label, target = match.groups()
        kind = "raw" if mark else "tree" if target.endswith("/") else "blob"
        return f"{mark}[{label}]({address}/{kind}/main/{target})"

    return _LINK.sub(absolute, text)
