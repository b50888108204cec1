"""From a folder of faces to a scored model, as docs/pretraining.md tells it."""

import logging
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.dist import all_gather, get_world_size
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from test_train_and_test import run

from abaw_mm import compat
from abaw_mm.apis.config import (
    load_config,
    set_loader_flags,
)
from abaw_mm.checkpoints.load import load_checkpoint_file

PROBE = {'num_workers': 0, 'train_frames_per_class': 1, 'val_frames': 4}


def small(faces, labelled, **options):
    """Overrides that make a pre-training small."""
    return {
        'train_dataloader.dataset.data_root': str(faces),
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        'default_hooks.probe.dataset.data_root': str(labelled),
        **{f'default_hooks.probe.{key}': value for key, value in PROBE.items()},
        'default_hooks.collapse.interval': 1,
        'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': 2,
        'model.backbone.base_channels': 8,
        'model.backbone.stem_channels': 8,
        'model.neck.in_channels': 64,
        'train_cfg.max_iters': 4,
        **options,
    }


def pretrain(work_dir, options, resume=False, launcher='none', name='contrawarping', amp=False):
    cfg = load_config(
        str(Path(__file__).parents[2] / f'configs/res18_{name}_faces.py'),
        launcher,
        str(work_dir),
        options,
    )
    cfg.resume = resume
    if amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
    set_loader_flags(cfg, pin_memory=True, persistent_workers=True)
    runner = Runner.from_cfg(compat.adapt_cfg_to_cpu(cfg, launcher))
    runner.train()
    return runner


@pytest.mark.slow
def test_four_commands(repo, tiny, tmp_path):
    """The commands of the docs, word for word; only sizes are added."""
    text = (repo / 'docs/pretraining.md').read_text()
    block = re.search(r'## Four commands\n\n```bash\n(.*?)```', text, re.S)[1]
    commands = block.replace('\\\n', '').strip().splitlines()
    assert len(commands) == 4
    place = tmp_path / 'place'
    (place / 'data').mkdir(parents=True)
    for name in ('abaw_mm', 'configs', 'tools'):
        (place / name).symlink_to(repo / name)
    (place / 'data/affwild2').symlink_to(tiny)
    (place / 'data/faces').symlink_to('affwild2/cropped_aligned')
    loader = ['train_dataloader.batch_size=2', 'train_dataloader.num_workers=0']
    probe = [f'default_hooks.probe.{key}={value}' for key, value in PROBE.items()]
    val = ['val_dataloader.num_workers=0', 'test_dataloader.num_workers=0']
    added = [
        [],
        ['--cfg-options', *loader, *probe, 'train_cfg.max_iters=2'],
        [*loader, *val, 'train_cfg.max_iters=2', 'train_cfg.val_interval=2'],
        ['--cfg-options', *val],
    ]
    logs = []
    for command, options in zip(commands, added, strict=True):
        command = command.replace('iter_8000', 'iter_2')
        command = f'cd {place} && ' + ' '.join([command, *options])
        logs.append(run('bash', '-c', command, PYTHONPATH=repo).stdout)
    assert (place / 'warps.png').is_file()
    weights = 'work_dirs/res18_contrawarping_faces/backbone.pth'
    assert f'fine-tuning: checkpoint={place / weights}' in logs[1]
    assert 'ProbeHook, step 2, knn: macro-F1' in logs[1]
    assert 'random weights' not in logs[1] + logs[2]
    assert f'SSLPretrained: {weights} -> ResNet' in logs[2]
    assert 'macro-F1' in logs[3]
    trained = load_checkpoint_file(place / 'work_dirs/res18_srp_affwild2/iter_2.pth')['state_dict']
    exported = load_checkpoint_file(place / weights)['state_dict']
    for name, tensor in exported.items():
        if 'layer4' not in name and 'num_batches' not in name:  # frozen: as pre-trained
            assert torch.equal(trained[name], tensor)


def test_resume_ends_where_an_uninterrupted_run_ends(tiny, tmp_path):
    """The step, and the target network's count, by which its momentum falls."""
    options = small(tiny / 'cropped_aligned', tiny)
    whole = pretrain(tmp_path / 'run', options)
    (tmp_path / 'run/iter_4.pth').unlink()
    (tmp_path / 'run/last_checkpoint').write_text(str(tmp_path / 'run/iter_2.pth'))
    again = pretrain(tmp_path / 'run', options, resume=True)
    assert again.iter == 4 and int(again.model.target_net.steps) == 4
    assert set(whole.model.state_dict()) == set(again.model.state_dict())
    exported = load_checkpoint_file(tmp_path / 'run/backbone.pth')
    assert exported['meta']['iterations'] == '4'
    for name, tensor in again.model.backbone.state_dict().items():
        assert torch.equal(exported['state_dict'][f'backbone.{name}'], tensor)


@pytest.mark.parametrize('name', ['byol', 'simsiam', 'contrawarping'])
def test_mixed_precision(tiny, tmp_path, name):
    options = small(
        tiny / 'cropped_aligned',
        tiny,
        **{'train_cfg.max_iters': 1, 'default_hooks.probe.interval': 0},
    )
    runner = pretrain(tmp_path, options, name=name, amp=True)
    assert all(torch.isfinite(value).all() for value in runner.model.state_dict().values())


def test_from_scratch_warns_of_nothing_frozen(tiny, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        MMLogger,
        'callHandlers',
        lambda self, record: (
            lines.append(record.getMessage()) if record.levelno >= logging.WARNING else None
        ),
    )
    pretrain(tmp_path, small(tiny / 'cropped_aligned', tiny, **{'train_cfg.max_iters': 1}))
    assert not [line for line in lines if 'random weights' in line]


def test_starts_from_weights(tiny, tmp_path):
    options = small(
        tiny / 'cropped_aligned',
        tiny,
        **{
            'train_cfg.max_iters': 1,
            'default_hooks.probe.interval': 0,
            'optim_wrapper.optimizer.lr': 0.0,
            'optim_wrapper.optimizer.weight_decay': 0.0,
        },
    )
    pretrain(tmp_path / 'first', options)
    path = tmp_path / 'first/backbone.pth'
    first = load_checkpoint_file(path)['state_dict']
    second = pretrain(
        tmp_path / 'second', {**options, 'checkpoint': str(path), 'randomness.seed': 1}
    ).model
    for name, parameter in second.backbone.named_parameters():
        assert torch.equal(parameter, first[f'backbone.{name}'])


def check_processes_agree(work_dir, faces, labelled):
    options = small(faces, labelled, **{'train_cfg.max_iters': 2})
    runner = pretrain(work_dir, options, launcher='pytorch')
    assert get_world_size() == 2
    for name, tensor in runner.model.module.state_dict().items():
        if not name.endswith('num_batches_tracked'):
            one, other = all_gather(tensor.float())
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7, msg=name)


def test_two_processes_end_with_the_same_network(tiny, tmp_path, run_distributed):
    """Parameters, BN statistics and the target network."""
    run_distributed(check_processes_agree, tmp_path / 'run', tiny / 'cropped_aligned', tiny)


def test_picture_of_the_docs(repo):
    path = repo / 'docs/images/local_warp.png'
    assert path.stat().st_size < 200_000


def test_no_faces_to_draw(repo, tmp_path):
    script = repo / 'tools/visualization/draw_local_warp.py'
    result = run(sys.executable, script, tmp_path / 'a.png', tmp_path, check=False, PYTHONPATH=repo)
    assert result.returncode == 1 and 'expected faces' in result.stdout
    assert not (tmp_path / 'a.png').exists()
