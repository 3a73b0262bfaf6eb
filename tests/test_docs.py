"""The examples of docstrings and documents run, and give what they say."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fmcodec

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PYTHON_BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def given() -> dict[str, Any]:
    """Names that examples may use without defining them."""
    x = np.maximum(np.random.default_rng(0).standard_normal((8, 28, 28), np.float32), 0)
    spec = fmcodec.CodecSpec(step=0.1)
    return {"np": np, "fmcodec": fmcodec, "CodecSpec": fmcodec.CodecSpec, "x": x, "spec": spec}


def modules_with_examples() -> list[str]:
    """Names of the modules whose source holds examples."""
    names = ["fmcodec", *(info.name for info in pkgutil.walk_packages(fmcodec.__path__, "fmcodec."))]
    package = Path(fmcodec.__file__).parent
    found = []
    for name in names:
        path = package.joinpath(*name.split(".")[1:])
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if source.exists() and ">>> " in source.read_text(encoding="utf-8"):
            found.append(name)
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_of_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    report: list[str] = []
    found = doctest.DocTestFinder().find(module, name, globs={**vars(module), **given()})
    for test in found:
        runner.run(test, out=report.append)
    assert runner.tries > 0
    assert runner.failures == 0, "".join(report)


def test_there_are_examples() -> None:
    assert {"fmcodec", "fmcodec.codec", "fmcodec.spec", "fmcodec.table_statistics"} <= set(modules_with_examples())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_of_documents(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = document.read_text(encoding="utf-8")
    blocks = list(PYTHON_BLOCK.finditer(text))
    assert len(blocks) == len(re.findall(r"^\s*```python", text, re.MULTILINE))
    monkeypatch.chdir(tmp_path)
    names = given()
    for block in blocks:
        # Blank lines in front, so that a traceback names the line of the document.
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block[1], str(document), "exec"), names)


def anchors(page: Path) -> set[str]:
    """What links to headings of a page end in, on GitHub and on the site."""
    headings = HEADING.findall(CODE_BLOCK.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), (target, anchor)


def test_every_page_is_in_the_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("").as_posix()
        assert name == "index" or re.search(rf"^{name}$", index, re.MULTILINE), name


def test_figure_shows_what_the_page_says() -> None:
    text = (ROOT / "docs" / "policy_search.md").read_text(encoding="utf-8")
    data = json.loads((ROOT / "docs" / "figures" / "frontier.json").read_text(encoding="ascii"))
    # Tables of other networks have no column of images.
    assert len(data["points"]) == len(re.findall(r"\| lagrangian-0\d \| \d+ \|", text))
    for point in data["points"]:
        change = f"{point['top1_difference']:+.2f} +- {point['top1_error']:.2f}"
        row = rf"\| {point['policy']} \| {point['images']} \| {point['bits_per_value']:.2f} \| [0-9. /]+ \| "
        row += rf"{re.escape(change)} \| {point['divergence']:.4f} \|"
        assert re.search(row, text), row
