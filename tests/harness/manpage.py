"""A man page as its reader gets it: what mandoc makes of it, taken apart again."""

import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

DIRECTORY = Path(__file__).resolve().parents[2] / "man"


class Item(NamedTuple):
    """An entry of a list: its section and sub-section, what it is about, and what is said of it.

    ``codes`` and ``arguments`` are the literal and the variable parts of the term, in order.
    """

    section: str
    subsection: str
    term: str
    codes: tuple[str, ...]
    arguments: tuple[str, ...]
    text: str


class Page(NamedTuple):
    """All items, displays as (section, text), references, and the text of each section."""

    items: tuple[Item, ...]
    displays: tuple[tuple[str, str], ...]
    references: frozenset[str]
    codes: tuple[tuple[str, str], ...]  # (sub-section, literal word) in running text
    sections: dict[str, str]


def pages() -> list[Path]:
    """Return the sources of all pages."""
    return sorted(path for path in DIRECTORY.iterdir() if path.suffix[1:].isdigit())


def lint(path: Path) -> list[str]:
    """Return what mandoc objects to; references are not its business, see `Page.references`."""
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "style", path.name],
        cwd=path.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return [line for line in done.stdout.splitlines() if "referenced manual not found" not in line]


def read(path: Path) -> Page:
    """Render a page and take it apart."""
    done = subprocess.run(
        ["mandoc", "-T", "html", "-O", "fragment", str(path)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    reader = _Reader()
    reader.feed(done.stdout)
    reader.close()
    return reader.page()


class _Reader(HTMLParser):
    """Collects the text below headings, terms, descriptions and displays."""

    def __init__(self) -> None:
        super().__init__()
        self._section = self._subsection = ""
        self._sections: dict[str, str] = {}
        self._items: list[Item] = []
        self._displays: list[tuple[str, str]] = []
        self._references: set[str] = set()
        self._codes: list[tuple[str, str]] = []
        # (tag, class, text so far) of the elements that are open.
        self._open: list[tuple[str, str, list[str]]] = []
        self._term: tuple[str, list[str], list[str]] | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag != "br":
            self._open.append((tag, dict(attributes).get("class") or "", []))
        if tag == "dt":
            self._finish()
            self._term = ("", [], [])

    def handle_data(self, data: str) -> None:
        for _, _, text in self._open:
            text.append(data)
        self._sections[self._section] = self._sections.get(self._section, "") + data

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            name, kind, pieces = self._open.pop()
            self._closed(name, kind, "".join(pieces))
            if name == tag:
                return

    def _closed(self, tag: str, kind: str, text: str) -> None:
        joined = " ".join(text.split())
        in_term = any(name == "dt" for name, _, _ in self._open)
        if tag == "h1":
            self._section, self._subsection = joined, ""
        elif tag == "h2":
            self._subsection = joined
        elif in_term and self._term is not None and tag in ("code", "var"):
            (self._term[1] if tag == "code" else self._term[2]).append(joined)
        elif tag == "dt" and self._term is not None:
            self._term = (joined, self._term[1], self._term[2])
        elif tag == "dd":
            self._finish(joined)
        elif tag == "pre" or (tag == "div" and "Bd" in kind.split() and "Li" not in kind.split()):
            self._displays.append((self._section, text if tag == "pre" else joined))
        elif tag == "a" and kind == "Xr":
            self._references.add(joined)
        if tag == "code" and not in_term:
            self._codes.append((self._subsection, joined))

    def _finish(self, text: str = "") -> None:
        if self._term is not None:
            term, codes, arguments = self._term
            place = (self._section, self._subsection)
            self._items.append(Item(*place, term, tuple(codes), tuple(arguments), text))
        self._term = None

    def page(self) -> Page:
        return Page(
            tuple(self._items),
            tuple(self._displays),
            frozenset(self._references),
            tuple(self._codes),
            {name: " ".join(text.split()) for name, text in self._sections.items()},
        )
