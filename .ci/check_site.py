"""Check the links of a built site among its own pages: each page and each anchor exists."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


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
print(f"{sum(len(page.links) for page in pages.values())} links in {len(pages)} pages lead somewhere")
