"""For mkdocs: the README is the first page, and what is outside docs/ is named, not linked."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the README as the first page."""
    text = LINK.sub(_from_the_top, (ROOT / "README.md").read_text())
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links to what is no file inside docs/ into their words."""
    folder = Path("docs", page.file.src_uri).parent
    return LINK.sub(lambda link: _inside(link, folder), markdown)


def _from_the_top(link: re.Match[str]) -> str:
    words, target, anchor = link.groups()
    return f"[{words}]({target.removeprefix('docs/')}{anchor or ''})"


def _inside(link: re.Match[str], folder: Path) -> str:
    words, target, _ = link.groups()
    path = (ROOT / folder / target).resolve()
    if "://" in target or target == "index.md":
        return link[0]
    return link[0] if path.is_file() and path.is_relative_to(ROOT / "docs") else words
