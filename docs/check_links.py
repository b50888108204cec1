#!/usr/bin/env python
"""Check that no link inside the built site, or between Markdown files of the repository, is dead.

    python docs/check_links.py docs/_build

Prints each dead link; the exit status is 1 if there is one. Other servers are not asked.
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

REPO = Path(__file__).resolve().parents[1]
LINK = re.compile(r'(?<!\\)\[[^]]*\]\(([^()\s]+)\)')
CODE = re.compile(r'^```.*?^```|`[^`\n]*`', re.S | re.M)


class Page(HTMLParser):
    """The targets of links in a page, and the names that links to the page may end in."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ('href', 'src') and value:
                self.links.append(value)
            elif name in ('id', 'name') and value:
                self.names.add(value)


@cache
def read_page(path: Path) -> tuple[list[str], set[str]]:
    """Return the links and the anchors of an HTML page or a Markdown file."""
    if path.suffix == '.html':
        page = Page(path)
        return page.links, page.names
    text = path.read_text(encoding='utf-8')
    headings = re.findall(r'^#+ +(.+)$', re.sub(r'^```.*?^```', '', text, flags=re.S | re.M), re.M)
    return LINK.findall(CODE.sub('', text)), {make_anchor(heading) for heading in headings}


def make_anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading.

    >>> make_anchor('IR-50, APViT, `DINOv2`')
    'ir-50-apvit-dinov2'
    """
    return re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')


def find_dead_links(paths: list[Path]) -> Iterator[tuple[Path, str]]:
    """Yield the page and the target of each link that leads nowhere."""
    for path in paths:
        for link in read_page(path)[0]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path.parent / unquote(parts.path) if parts.path else path
            if not target.exists():
                yield path, link
            elif parts.fragment and target.suffix in ('.html', '.md'):
                if unquote(parts.fragment) not in read_page(target.resolve())[1] | {'top'}:
                    yield path, link


def main(site: Path) -> int:
    """Print the dead links, and return the exit status."""
    markdown = [*REPO.glob('*.md'), *(REPO / 'docs').rglob('*.md')]
    ours = [path for path in markdown if not {'_build', 'reference'} & set(path.parts)]
    pages = [path for path in site.rglob('*.html') if '_static' not in path.parts]
    dead = list(find_dead_links(sorted(ours) + sorted(pages)))
    for path, link in dead:
        print(f'{path}: dead link {link}')
    print(f'{len(ours)} Markdown files and {len(pages)} pages, {len(dead)} dead links')
    return bool(dead)


if __name__ == '__main__':
    sys.exit(main(Path(sys.argv[1])))
