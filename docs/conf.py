"""Sphinx configuration of the site; `bash tools/build_docs.sh` builds it."""

import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from site_pages import write_pages  # noqa: E402

from abaw_mm import __version__  # noqa: E402

project = 'abaw_mm'
author = 'The abaw_mm developers'
copyright = 'Apache-2.0'
version = release = __version__

extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.viewcode']
source_suffix = {'.md': 'myst-nb', '.ipynb': 'myst-nb', '.rst': 'restructuredtext'}
nb_execution_mode = 'off'  # a test runs the notebook; its outputs are stored
exclude_patterns = ['README.md', 'logs/**', '_build', 'jupyter_execute']
html_theme = 'furo'
html_title = f'abaw_mm {version}'
html_show_copyright = False
html_static_path = ['_static']
html_css_files = ['site.css']

myst_heading_anchors = 4
myst_enable_extensions = ['dollarmath']

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'  # docstrings give types with shapes and units
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

# Pages on GitHub link to these files of the repository; the site has a page of each.
IN_REPOSITORY = {
    '../README.md': 'getting_started.md',
    '../CONTRIBUTING.md': 'contributing.md',
    '../CHANGELOG.md': 'changelog.md',
    'README.md': 'index.md',
}
# Logs are offered as files; folders and reports among them have no page.
LOGS = re.compile(r'\[([^]]+)\]\((?:\.\./)*logs/(?:[^).]*|[^)]*\.md)\)')


def adapt_links(app, docname, source):
    """Let links to files outside of the site lead to their pages."""
    text = LOGS.sub(r'\1', source[0])
    for path, page in IN_REPOSITORY.items():
        text = text.replace(f'({path}', f'({"../" * docname.count("/")}{page}')
    source[0] = text


def setup(app):
    """Generate pages before the sources are read."""
    app.connect('builder-inited', lambda app: write_pages(DOCS / 'reference'))
    app.connect('source-read', adapt_links)
