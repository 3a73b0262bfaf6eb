"""The site of the documentation: sphinx-build -W docs build/docs, or nox -s docs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

import fmcodec

project = "fmcodec"
version = release = fmcodec.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["figures"]

html_theme = "furo"
html_title = f"fmcodec {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

# Links to headings, as GitHub makes them.
myst_heading_anchors = 3

# Docstrings name functions by single backticks.
default_role = "py:obj"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_type_aliases = {"npt.ArrayLike": "ArrayLike"}
napoleon_google_docstring = False

# Prompts are not part of what is copied.
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

ROOT = Path(__file__).resolve().parent.parent
# Worked examples, which the tests read.
PLAIN_LANGUAGES = ("bits", "hex", "numbers")


def skip_member(_: Sphinx, __: str, ___: str, member: Any, ____: bool, _____: Any) -> bool | None:
    """Fields of named tuples are explained in the docstrings of their classes."""
    return True if type(member).__name__ == "_tuplegetter" else None


def show_file_of_the_root(_: Sphinx, name: str, source: list[str]) -> None:
    """Two pages are files of the root of the repository, whose links are made those of the site."""
    if name in ("contributing", "security"):
        text = (ROOT / f"{name.upper()}.md").read_text(encoding="utf-8")
        text = re.sub(r"\[([^\]]+)\]\(README\.md[^)]*\)", r"\1", text)
        text = text.replace("](docs/", "](")
        source[0] = re.sub(r"\]\((CONTRIBUTING|SECURITY)\.md", lambda match: match[0].lower(), text)


def setup(app: Sphinx) -> None:
    """What is not a mere setting."""
    app.connect("autodoc-skip-member", skip_member)
    app.connect("source-read", show_file_of_the_root)
    for language in PLAIN_LANGUAGES:
        app.add_lexer(language, TextLexer)
