"""Tell the package where its repository is: ``python .ci/with_address.py https://...``, in a copy that is then built.

Adds [project.urls] to pyproject.toml, and makes README's links absolute: an index shows README without the files
beside it.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURES = (".png", ".svg")


def absolute(text: str, address: str) -> str:
    """README with its links to files as links to the repository; pictures as raw files."""

    def replaced(match: re.Match[str]) -> str:
        kind = "raw" if match[1].endswith(PICTURES) else "tree" if (ROOT / match[1]).is_dir() else "blob"
        return f"]({address}/{kind}/HEAD/{match[1]})"

    return re.sub(r"\]\((?!https?:|#)([^)]+)\)", replaced, text)


def main(address: str) -> None:
    address = address.rstrip("/")
    if not address.startswith("https://"):
        sys.exit(f"an address begins with https://, got {address!r}")
    project = (ROOT / "pyproject.toml").read_text()
    if "[project.urls]" in project:
        sys.exit("pyproject.toml has addresses already")
    urls = {
        "Source": address,
        "Issues": f"{address}/issues",
        "Changelog": f"{address}/blob/HEAD/CHANGELOG.md",
        "Documentation": f"{address}/blob/HEAD/docs/index.md",
    }
    lines = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    project = project.replace("[project.scripts]", f"[project.urls]\n{lines}\n[project.scripts]")
    (ROOT / "pyproject.toml").write_text(project)
    readme = ROOT / "README.md"
    readme.write_text(absolute(readme.read_text(), address))


if __name__ == "__main__":
    main(sys.argv[1])
