"""A full disk gives one line and leaves no half file."""

import multiprocessing as mp
import os
import resource
import shutil
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_noisy_predictions, write_clip
from fault_run import list_drafts, write_config
from mmengine.config import Config
from mmpretrain.models import ResNet
from mmpretrain.registry import MODELS

from abaw_mm.apis import train
from abaw_mm.checkpoints import load_checkpoint_file
from abaw_mm.datasets import FeatureFolder

POSTPROCESS = 'analysis_tools/postprocess_predictions.py'  # writes as test.py --out does
SPACE = 4096  # bytes; no file can grow beyond


@pytest.fixture
def run_without_space(load_tool):
    """Return a function that runs a tool in a process whose files cannot grow."""

    def run(tool, *args, space=SPACE):
        reading, writing = os.pipe()
        process = mp.get_context('fork').Process(
            target=_run_without_space, args=(load_tool, tool, [str(arg) for arg in args], writing)
        )
        if space is not None:
            os.environ['SPACE'] = str(space)
        process.start()
        os.close(writing)
        with os.fdopen(reading, errors='replace') as file:
            output = file.read()
        process.join()
        return process.exitcode, output

    return run


def _run_without_space(load_tool, tool, args, pipe):
    os.dup2(pipe, 1)
    os.dup2(pipe, 2)
    os.close(pipe)
    sys.stdout, sys.stderr = (open(fd, 'w', buffering=1) for fd in (1, 2))
    sys.argv = [tool, *args]
    module = load_tool(tool)
    space = int(os.environ['SPACE'])
    resource.setrlimit(resource.RLIMIT_FSIZE, (space, resource.RLIM_INFINITY))
    try:
        status = module.main(args)
    except Exception:
        traceback.print_exc()
        status = 99
    os._exit(status or 0)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Data, a config, a checkpoint, predictions and weights."""
    folder = tmp_path_factory.mktemp('full')
    config = write_config(folder, workers=0)
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'a.pth')
    torch.save(dict(state_dict=ResNet(18).state_dict()), folder / 'resnet.pth')
    make_noisy_predictions(4).write(folder / 'pred.npz')
    return folder


def check(status, output, name, folder, left=()):
    """Check that a command has named the file in one line and left nothing else."""
    assert status == 1 and 'Traceback' not in output, output
    lines = [line for line in output.splitlines() if 'File too large' in line]
    assert len(lines) == 1 and str(name) in lines[0], output
    assert 'free disk space' in lines[0] or 'make room' in lines[0]
    assert not list_drafts(folder)
    assert sorted(path.name for path in Path(folder).iterdir()) == sorted(left)


@pytest.mark.parametrize(
    ('tool', 'args', 'out'),
    [
        ('report.py', 'PREDICTIONS --out OUT', 'report.html'),
        ('model_converters/ssl_to_mmpretrain.py', 'RESNET OUT', 'backbone.pth'),
        ('model_converters/ssl_to_mmpretrain.py', 'RESNET OUT', 'backbone.safetensors'),
        (POSTPROCESS, 'PREDICTIONS --out OUT --width 5', 'out.npz'),
        (POSTPROCESS, 'PREDICTIONS --out OUT --width 5', 'out.csv'),
        (POSTPROCESS, 'PREDICTIONS --out OUT --width 5', 'out.pkl'),
    ],
)
def test_output_is_whole_or_absent(made, tmp_path, run_without_space, tool, args, out):
    paths = dict(
        RESNET=made / 'resnet.pth',
        PREDICTIONS=made / 'pred.npz',
        OUT=tmp_path / 'out' / out,
    )
    (tmp_path / 'out').mkdir()
    paths['OUT'].write_text('old')
    status, output = run_without_space(tool, *(paths.get(part, part) for part in args.split()))
    check(status, output, paths['OUT'], tmp_path / 'out', [out])
    assert paths['OUT'].read_text() == 'old'


def test_packing_can_be_continued(tmp_path, run_without_space, run_tool):
    write_clip(tmp_path / 'data', 'Train_Set', 'a', [0] * 40, size=64)
    crops = tmp_path / 'data/cropped_aligned'
    tool = 'dataset_converters/pack_affwild2.py'
    status, output = run_without_space(tool, crops, space=30_000)
    assert status == 1 and 'Traceback' not in output, output
    assert f'{crops}.lmdb' in output and 'make room and run the same command again' in output
    status, output, _ = run_tool(tool, crops)
    assert status == 0 and '1 clips, 40 crops' in output


@pytest.mark.slow
def test_training_keeps_its_earlier_checkpoints(tmp_path, run_without_space):
    """The disk has space for everything but the second checkpoint."""
    config = write_config(tmp_path, workers=0)
    short = {'train_cfg.max_iters': 2}
    train(str(config), work_dir=str(tmp_path / 'run'), cfg_options=short)
    before = {path.name: path.read_bytes() for path in (tmp_path / 'run').glob('*.pth')}
    status, output = run_without_space(
        'train.py', config, '--work-dir', tmp_path / 'run', '--resume', space=1_000_000
    )
    assert status == 1 and 'Traceback' not in output, output
    line = next(line for line in output.splitlines() if 'cannot be written' in line)
    assert str(tmp_path / 'run/iter_6.pth') in line and 'free disk space' in line
    assert not list_drafts(tmp_path / 'run')
    after = {path.name: path.read_bytes() for path in (tmp_path / 'run').glob('*.pth')}
    assert after == before and load_checkpoint_file(tmp_path / 'run/iter_2.pth')
    train(str(config), work_dir=str(tmp_path / 'run'), resume='auto')
    assert (tmp_path / 'run/iter_6.pth').is_file()


def test_log_of_a_training_on_a_full_disk_is_one_line(tmp_path, run_without_space):
    config = write_config(tmp_path, workers=0)
    status, output = run_without_space('train.py', config, '--work-dir', tmp_path / 'run')
    assert status == 1 and 'Traceback' not in output and 'Logging error' not in output, output
    lines = [line for line in output.splitlines() if 'File too large' in line]
    assert len(lines) == 1 and str(tmp_path / 'run') in lines[0]


def test_damaged_and_lost_features_are_extracted_again(made, tmp_path, run_without_space, run_tool):
    out = tmp_path / 'features'
    command = ('extract_features.py', made / 'config.py', made / 'a.pth', '--out', out)
    command += ('--work-dir', tmp_path / 'log', '--layer', 'neck')
    status, output = run_without_space(*command, space=20_000)  # a clip has 15 x 2304 x 2 bytes
    assert status == 1 and 'Traceback' not in output, output
    line = next(line for line in output.splitlines() if 'cannot be written' in line)
    assert str(out / 'clips') in line and not list_drafts(out)
    assert not list(out.glob('clips/*'))
    assert run_tool(*command)[0] == 0
    folder = FeatureFolder.open(out)
    whole = {clip: np.array(folder.read(clip)) for clip in folder.index.clips}
    assert len(whole) == 6
    first, second, third, *_ = whole
    folder.array_path(first).write_bytes(folder.array_path(first).read_bytes()[:-100])
    folder.array_path(second).write_bytes(b'')
    folder.array_path(third).unlink()
    assert run_tool(*command)[0] == 0
    for clip, features in whole.items():
        np.testing.assert_array_equal(FeatureFolder.open(out).read(clip), features)


@pytest.mark.parametrize('tool', ['train.py', 'extract_features.py', 'pack', 'sweep'])
def test_place_that_cannot_be_written_to(made, tmp_path, run_tool, monkeypatch, tool):
    """A file in place of the parent folder: unlike permissions, it also stops the superuser."""
    (tmp_path / 'file').touch()
    place = tmp_path / 'file/out'
    args = {
        'train.py': (made / 'config.py', '--work-dir', place),
        'extract_features.py': (
            *(made / 'config.py', made / 'a.pth', '--out', place),
            *('--work-dir', tmp_path / 'log'),
        ),
        'pack': (made / 'data/cropped_aligned', f'{place}.lmdb'),
        'sweep': ('--work-dir', place, '--tables', 1, '--data-root', made / 'data'),
    }[tool]
    name = dict(pack='dataset_converters/pack_affwild2.py', sweep='reproduce_tables.py')
    monkeypatch.setattr(sys, 'argv', [f'tools/{tool}'])
    status, _, errors = run_tool(name.get(tool, tool), *args)
    assert status == 1
    lines = [line for line in errors.splitlines() if 'Not a directory' in line]
    assert len(lines) == 1 and str(place) in lines[0], errors
    assert os.listdir(tmp_path) in (['file'], ['file', 'log'], ['log', 'file'])


@pytest.mark.skipif(os.geteuid() == 0, reason='permissions do not stop the superuser')
def test_folder_without_permission(made, tmp_path, run_tool):
    place = tmp_path / 'closed'
    shutil.copytree(made / 'data', tmp_path / 'data')
    place.mkdir(mode=0o555)
    status, _, errors = run_tool('train.py', made / 'config.py', '--work-dir', place)
    assert status == 1 and f'{place} cannot be written to' in errors
