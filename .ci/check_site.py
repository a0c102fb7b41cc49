"""Check a built site: the links among its own pages lead somewhere, and its search finds what readers look for."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.search.en import SearchEnglish

TASKS = {  # what a reader may search for, and the page that helps
    "arduino": "how-to/export",
    "class weights": "how-to/train",
    "classify text": "how-to/text",
    "convert pytorch lstm": "how-to/models",
    "csv command line predict": "how-to/shell",
    "custom cell gradients": "how-to/own",
    "dask cluster": "how-to/scale-out",
    "deterministic threads": "explain/threads",
    "early stopping": "how-to/train",
    "embedded device": "how-to/c",
    "export onnx": "how-to/export",
    "keras model without tensorflow": "how-to/models",
    "larger than RAM": "how-to/large",
    "memory usage": "explain/memory",
    "microcontroller": "how-to/export",
    "numba": "how-to/cython",
    "real-time audio": "how-to/c",
    "reproducible results": "explain/threads",
    "resume training checkpoint": "how-to/train",
    "serve model fastapi": "how-to/service",
    "text classification": "how-to/text",
    "torch autograd module gradients": "how-to/bridges",
    "variable length sequences padding": "how-to/unequal",
    "websocket stream": "how-to/stream",
}


class Page(HTMLParser):
    """The links of a page, and the names of its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("href", "src") and value is not None and tag != "link":
                self.links.append(value)
            elif name == "id" and value is not None:
                self.anchors.add(value)


def found_by(query: str, index: dict, words: SearchEnglish) -> set[str]:
    """The pages that have all words of a query, as the search page looks for them."""
    pages = set(range(len(index["docnames"])))
    for word in re.findall(r"\w+", query.lower()):
        if word not in words.stopwords:
            stem, of_word = words.stem(word), set()
            for terms in (index["terms"], index["titleterms"]):
                numbers = terms.get(stem, [])
                of_word |= {numbers} if isinstance(numbers, int) else set(numbers)
            pages &= of_word
    return {index["docnames"][number] for number in pages}


site = Path(sys.argv[1]).resolve()
pages = {path: Page(path) for path in site.rglob("*.html")}
broken = []
for path, page in pages.items():
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        target = target / "index.html" if target.is_dir() else target
        if not target.is_file() or (target in pages and unquote(parts.fragment) not in pages[target].anchors):
            broken.append(f"{path.relative_to(site)}: {link}")
for line in sorted(set(broken)):
    print(line)
if broken or not pages:
    sys.exit(f"{len(set(broken))} of the links in {len(pages)} pages lead nowhere")

index = json.loads(
    (site / "searchindex.js").read_text(encoding="utf-8").removeprefix("Search.setIndex(").removesuffix(")")
)
words = SearchEnglish({})
missed = [
    f"{query!r} does not find {page}" for query, page in TASKS.items() if page not in found_by(query, index, words)
]
print(*missed, sep="\n")
if missed:
    sys.exit(f"the search misses {len(missed)} of {len(TASKS)} pages")
links = sum(len(page.links) for page in pages.values())
print(f"{links} links in {len(pages)} pages lead somewhere, and {len(TASKS)} searches find their pages")
