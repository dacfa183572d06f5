"""Settings of the documentation site (Sphinx). `make docs` builds it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mova import __version__

project = "mova"
version = release = __version__
html_title = f"mova {version}"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]

source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4

default_role = "code"  # docstrings use `name`, as Markdown does
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 88

# A type whose module is documented must resolve. Others are not looked up: the build uses no network.
DOCUMENTED = sorted(
    {
        name
        for page in Path(__file__).parent.glob("reference/api/*.md")
        for name in re.findall(r"^.. auto(?:module|class):: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
)
nitpick_ignore_regex = [
    (r"py:.*", rf"(?!({'|'.join(map(re.escape, DOCUMENTED))})\b).*"),
    (r"py:(class|obj)", r".*\.(Item|Result|Output)"),  # type variables
]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "default"
pygments_dark_style = "github-dark"
