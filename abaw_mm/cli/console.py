"""The command ``abaw-mm``: every script of ``tools/`` by a short name."""

import ast
import difflib
import importlib.util
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from abaw_mm.cli.report_errors import report
from abaw_mm.model_index import find_config_root
from abaw_mm.version import __version__

# Name to script, in the order of use. A wheel has the scripts in abaw_mm/.mim, as OpenMMLab's have.
COMMANDS = {
    'demo': 'demo/make_demo_data.py',
    'demo-video': 'demo/make_demo_video.py',
    'verify': 'tools/misc/verify_affwild2.py',
    'pack': 'tools/dataset_converters/pack_affwild2.py',
    'landmarks': 'tools/dataset_converters/find_landmarks.py',
    'pretrain': 'tools/train.py',
    'convert': 'tools/model_converters/ssl_to_mmpretrain.py',
    'train': 'tools/train.py',
    'test': 'tools/test.py',
    'export': 'tools/export_onnx.py',
    'report': 'tools/report.py',
    'score': 'tools/analysis_tools/score_predictions.py',
    'postprocess': 'tools/analysis_tools/postprocess_predictions.py',
    'search': 'tools/analysis_tools/search_postprocessing.py',
    'submit': 'tools/make_submission.py',
    'video': 'tools/predict_video.py',
    'images': 'tools/predict_images.py',
    'measure-crops': 'tools/misc/measure_crops.py',
    'features': 'tools/extract_features.py',
    'audio': 'tools/extract_audio_features.py',
    'import-features': 'tools/dataset_converters/import_features.py',
    'export-features': 'tools/dataset_converters/export_features.py',
    'pseudo-labels': 'tools/dataset_converters/make_pseudo_labels.py',
    'folds': 'tools/dataset_converters/make_folds.py',
    'cross-validate': 'tools/cross_validate.py',
    'tables': 'tools/reproduce_tables.py',
    'stats': 'tools/analysis_tools/model_stats.py',
    'scaling': 'tools/analysis_tools/scaling.py',
    'curves': 'tools/visualization/plot_curves.py',
    'batches': 'tools/visualization/browse_batches.py',
    'attention': 'tools/visualization/attention_maps.py',
    'warp': 'tools/visualization/draw_local_warp.py',
}
LAUNCHED = ('pretrain', 'train', 'test', 'features', 'audio')  # can run in several processes
EXAMPLE = """\
examples:
  abaw-mm demo data/demo
  abaw-mm train res18_srp_demo
  abaw-mm train res50_srp_affwild2 --nproc 2 --cfg-options checkpoint=SSL.pth
  abaw-mm video res18_srp_112_affwild2 CHECKPOINT talk.mp4 --out talk --draw --report

CONFIG is a path, or the name of a config of this package. --nproc N runs train, pretrain, test,
features and audio in N processes. `abaw-mm COMMAND --help` explains a command.
To complete names with Tab: eval "$(abaw-mm completion)"
"""
COMPLETION = """\
_abaw_mm() {
    local word=${COMP_WORDS[COMP_CWORD]}
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "COMMANDS" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "CONFIGS" -- "$word"; compgen -f -- "$word")
    fi
}
type complete >/dev/null 2>&1 || { autoload -U +X bashcompinit && bashcompinit; }
complete -o filenames -F _abaw_mm abaw-mm
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command by its name, and return its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    name = argv[0] if argv else '--help'
    if name in ('-h', '--help'):
        print(format_help(), end='')
        return 0
    if name == '--version':
        print(f'abaw_mm {__version__}')
        return 0
    if name == 'completion':
        print(format_completion(), end='')
        return 0
    if name not in COMMANDS:
        closest = difflib.get_close_matches(name, COMMANDS, 1)
        advice = f'did you mean {closest[0]}?' if closest else '`abaw-mm --help` lists them'
        report(f'abaw-mm: got the command {name!r}, which does not exist; {advice}')
        return 2
    return run(name, argv[1:])


def run(name: str, argv: list[str]) -> int:
    """Run a command in this process, or in several with ``--nproc``, and return its status."""
    script = str(find_config_root() / COMMANDS[name])
    if name in LAUNCHED:
        argv = [part for word in argv for part in _split(word)]
    if name in LAUNCHED and '--nproc' in argv:
        at = argv.index('--nproc')
        if not ''.join(argv[at + 1 : at + 2]).isdigit():
            report(f'abaw-mm {name}: error: --nproc: expected a number of processes')
            return 2
        launch = str(find_config_root() / 'tools/launch.py')
        processes = ['--standalone', f'--nproc_per_node={argv[at + 1]}']
        rest = [*argv[:at], *argv[at + 2 :], '--launcher', 'pytorch']
        os.execv(sys.executable, [sys.executable, launch, *processes, script, *rest])
    before, sys.argv = sys.argv, [f'abaw-mm {name}', *argv]  # named so in its messages
    sys.path.insert(0, str(Path(script).parent))  # as for a script; those of demo import each other
    try:
        return _load(script).main(argv) or 0
    finally:
        sys.argv = before
        sys.path.remove(str(Path(script).parent))


def _split(word: str) -> list[str]:
    """Split ``--nproc=2``, as argparse does."""
    return word.split('=', 1) if word.startswith('--nproc=') else [word]


def _load(script: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f'abaw_mm_{Path(script).stem}', script)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # found by workers
    spec.loader.exec_module(module)
    return module


def format_help() -> str:
    """Return the list of commands, each with the summary of its script."""
    lines = ['usage: abaw-mm COMMAND [arguments]', '', 'commands:']
    for name, script in COMMANDS.items():
        doc = ast.get_docstring(ast.parse((find_config_root() / script).read_text('utf-8'))) or ''
        summary = doc.partition('\n')[0].rstrip('.')
        if name == 'pretrain':
            summary = 'Train a config on faces without labels (the same as train)'
        text = f'  {name:<16} {summary}'
        lines += textwrap.wrap(text, 80, subsequent_indent=' ' * 19)
    return '\n'.join([*lines, '', EXAMPLE])


def format_completion() -> str:
    """Return a script for bash and zsh that completes names of commands and configs."""
    configs = sorted(path.stem for path in (find_config_root() / 'configs').glob('*.py'))
    names = ' '.join([*COMMANDS, 'completion'])
    return COMPLETION.replace('COMMANDS', names).replace('CONFIGS', ' '.join(configs))


if __name__ == '__main__':
    sys.exit(main())
