"""Write the generated pages of the site: the model zoo, the commands and the API."""

import ast
import contextlib
import importlib.util
import io
import os
import pkgutil
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import abaw_mm  # noqa: F401  patches what the import of mmpretrain needs

# isort: split
import yaml
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from abaw_mm.apis.config import load_config
from abaw_mm.apis.model_stats import count_parameters
from abaw_mm.cli.console import COMMANDS
from abaw_mm.paper.rows import ROWS, TRAININGS

REPO = Path(__file__).parents[1]
ROOMS = (  # of the package, in the order in which a frame passes through them
    'structures',
    'datasets',
    'models',
    'checkpoints',
    'engine',
    'evaluation',
    'visualization',
    'video',
    'audio',
    'apis',
)


def write_pages(folder: Path) -> None:
    """Write all pages into a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / 'api').mkdir(parents=True)
    (folder / 'model_zoo.md').write_text(make_model_zoo())
    (folder / 'commands.md').write_text('\n'.join(make_commands()))
    for room in ROOMS:
        (folder / f'api/{room}.rst').write_text('\n'.join(make_api(f'abaw_mm.{room}')))


# ------------------------------------------------------------------------------------- model zoo

ZOO = """\
# Model zoo

Every config of `configs/`, by the collections of `configs/metafile.yml`. Parameters and FLOPs are
counted from the model (`tools/analysis_tools/model_stats.py`; a FLOP is a multiplication with its
addition, for an image or a window of features). *Paper* is the macro-F1 in % of Xue, Sun and Yang
(2023) on the validation set, with the weights in brackets. **No weights are released here**, and
the paper's figures have not been reproduced: [what was run, and what it shows](../results.md).
Where to get weights, and how they are read: [checkpoints](../checkpoints.md). Frames/s of the
recorded machine: [performance](../performance.md).
"""


def make_model_zoo() -> str:
    """Return the page of all configs, from the metafile, the configs and the paper's rows."""
    index = yaml.safe_load((REPO / 'configs/metafile.yml').read_text())
    parts = [ZOO]
    for collection in index['Collections']:
        models = [m for m in index['Models'] if m['In Collection'] == collection['Name']]
        paper = collection['Paper']
        parts += [
            f'## {collection["Name"]}',
            f'[{" ".join(paper["Title"].split())}]({paper["URL"]})',
        ]
        header = ('config', 'track', 'trainable', 'parameters', 'FLOPs', 'paper')
        parts.append(make_table(header, map(describe_model, models)))
    return '\n\n'.join(parts) + '\n'


def describe_model(entry: dict[str, Any]) -> list[str]:
    """Return the cells of a config."""
    cfg, facts = load_config(str(REPO / entry['Config'])), entry['Metadata']
    name = Path(entry['Config']).name
    trained = count_parameters(build_model(cfg))[0]
    return [
        f'`{name}`',
        find_track(cfg),
        f'{trained / 1e6:.2f} M',
        f'{facts["Parameters"] / 1e6:.2f} M',
        f'{facts["FLOPs"] / 1e9:.2f} G',
        find_paper_score(name),
    ]


def build_model(cfg: Config) -> Any:
    """Build the model of a config, with random weights."""
    options = dict(cfg.model, data_preprocessor=cfg.get('data_preprocessor'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(options)


def find_track(cfg: Config) -> str:
    """Return the track of a config's data set."""
    loader = cfg.get('val_dataloader')
    if loader is None:
        return 'no labels'
    return str(loader.dataset.get('task', 'expr')).upper()


def find_paper_score(name: str) -> str:
    """Return the paper's figures of a config with its own settings, with their weights."""
    scores = {
        row.paper: TRAININGS[row.training].init.partition('_')[2]
        for row in ROWS
        if TRAININGS[row.training].config == name and not TRAININGS[row.training].options
    }
    return ', '.join(f'{score:.2f} ({scores[score]})' for score in sorted(scores, reverse=True))


def make_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    header = list(header)
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in lines)


# --------------------------------------------------------------------------------------- commands


def make_commands() -> Iterator[str]:
    """Yield the lines of the page of all commands: what each prints with ``--help``."""
    yield '# Commands\n'
    yield 'What each command prints with `--help`. `abaw-mm NAME` runs the same command.\n'
    for path in sorted((REPO / 'tools').rglob('*.py')):
        name = path.relative_to(REPO)
        if name.name == 'launch.py':  # dist_train.sh and the other launchers call it
            continue
        summary = (
            (ast.get_docstring(ast.parse(path.read_text())) or '').partition('\n')[0].rstrip('.')
        )
        short = next(short for short, script in COMMANDS.items() if script == str(name))
        yield f'## {name}\n\n{summary} (`abaw-mm {short}`)\n\n```text'
        yield read_help(path).rstrip()
        yield '```\n'


def read_help(path: Path) -> str:
    """Return the help of a command, as wide as a page."""
    spec = importlib.util.spec_from_file_location(f'site_{path.stem}', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS='86', NO_COLOR='1'):
        with mock.patch.object(sys, 'argv', [path.name]), contextlib.redirect_stdout(out):
            with contextlib.suppress(SystemExit):
                module.main(['--help'])
    return out.getvalue()


# -------------------------------------------------------------------------------------------- API


def make_api(package: str) -> Iterator[str]:
    """Yield the lines of the page of a package: its public classes and functions."""
    title = package
    yield f'{title}\n{"=" * len(title)}\n'
    yield f'.. automodule:: {package}\n'
    for name in sorted(list_modules(package)):
        members = list_members(importlib.import_module(name))
        if not members:
            continue
        yield f'{name}\n{"-" * len(name)}\n'
        yield f'.. automodule:: {name}\n   :members: {", ".join(members)}\n   :show-inheritance:\n'


def list_modules(package: str) -> Iterator[str]:
    """Yield the modules of a package, which have one public class or a few functions each."""
    module = importlib.import_module(package)
    for info in pkgutil.walk_packages(module.__path__, f'{package}.'):
        if not info.ispkg:
            yield info.name


def list_members(module: ModuleType) -> list[str]:
    """Return the public classes and functions that a module defines."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith('_')
        and getattr(value, '__module__', '') == module.__name__
        and callable(value)
    ]
