"""docs/check_links.py finds links that lead nowhere, in pages and in Markdown files."""

import importlib.util
from pathlib import Path

REPO = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location('check_links', REPO / 'docs/check_links.py')
check_links = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(check_links)


def test_dead_files_and_anchors_are_found(tmp_path):
    page, other, text = (tmp_path / name for name in ('page.html', 'a b.html', 'text.md'))
    good = '<a href="a%20b.html#there">', '<a href="#here">', '<img src="https://x.org/y.png">'
    dead = '<a href="a%20b.html#gone">', '<a href="gone.html">', '<img src="gone.png">'
    page.write_text('<h1 id="here">' + ''.join(good + dead))
    other.write_text('<p id="there">')
    text.write_text(
        '# A title, `code`\n[1](#a-title-code) [2](#gone) [3](gone.md) [4](page.html)\n'
        '`[5](not_a_link)`\n```\n# not a heading\n[6](not_a_link)\n```\n[7](#not-a-heading)\n'
    )
    found = [(path, link) for path, link in check_links.find_dead_links([page, text])]
    assert found == [
        (page, 'a%20b.html#gone'),
        (page, 'gone.html'),
        (page, 'gone.png'),
        (text, '#gone'),
        (text, 'gone.md'),
        (text, '#not-a-heading'),
    ]
