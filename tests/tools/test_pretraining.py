"""From a folder of faces to a scored model, as docs/pretraining.md describes."""

import logging
import re
from pathlib import Path

import pytest
import torch
from mmengine.dist import all_gather, get_world_size
from mmengine.logging import MMLogger
from test_train_and_test import run

from abaw_mm.apis.build_runner import build_runner
from abaw_mm.apis.config import load_config, set_loader_flags
from abaw_mm.checkpoints.load import load_checkpoint_file

PROBE = {'num_workers': 0, 'train_frames_per_class': 1, 'val_frames': 4}


def make_options(faces, labelled, **options):
    """Overrides that make pre-training small."""
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
    runner = build_runner(cfg)
    runner.train()
    return runner


@pytest.mark.slow
def test_commands_of_the_docs(repo, tiny, tmp_path):
    """The four commands, word for word; only options for small sizes are added."""
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
        if 'layer4' not in name and 'num_batches' not in name:  # frozen
            assert torch.equal(trained[name], tensor)


@pytest.mark.slow
def test_resume_restores_step_and_momentum(tiny, tmp_path):
    """The momentum of the target network depends on its own count of steps."""
    options = make_options(tiny / 'cropped_aligned', tiny)
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


@pytest.mark.parametrize(
    'name',
    [
        pytest.param('byol', marks=pytest.mark.slow),
        pytest.param('simsiam', marks=pytest.mark.slow),
        'contrawarping',
    ],
)
def test_mixed_precision_stays_finite(tiny, tmp_path, name):
    options = make_options(
        tiny / 'cropped_aligned',
        tiny,
        **{'train_cfg.max_iters': 1, 'default_hooks.probe.interval': 0},
    )
    runner = pretrain(tmp_path, options, name=name, amp=True)
    assert all(torch.isfinite(value).all() for value in runner.model.state_dict().values())


@pytest.mark.slow
def test_training_from_scratch_does_not_warn_of_random_weights(tiny, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        MMLogger,
        'callHandlers',
        lambda self, record: (
            lines.append(record.getMessage()) if record.levelno >= logging.WARNING else None
        ),
    )
    pretrain(tmp_path, make_options(tiny / 'cropped_aligned', tiny, **{'train_cfg.max_iters': 1}))
    assert not [line for line in lines if 'random weights' in line]


def test_checkpoint_setting_loads_the_backbone(tiny, tmp_path):
    options = make_options(
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
    options = make_options(faces, labelled, **{'train_cfg.max_iters': 2})
    runner = pretrain(work_dir, options, launcher='pytorch')
    assert get_world_size() == 2
    for name, tensor in runner.model.module.state_dict().items():
        if not name.endswith('num_batches_tracked'):
            one, other = all_gather(tensor.float())
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.slow
def test_two_processes_end_with_the_same_network(tiny, tmp_path, run_distributed):
    """Parameters, BatchNorm statistics and the target network are compared."""
    run_distributed(check_processes_agree, tmp_path / 'run', tiny / 'cropped_aligned', tiny)


def test_picture_of_the_docs_is_small(repo):
    path = repo / 'docs/images/local_warp.png'
    assert path.stat().st_size < 200_000


def test_drawing_a_folder_without_faces_fails(tmp_path, run_tool):
    status, _, error = run_tool('visualization/draw_local_warp.py', tmp_path / 'a.png', tmp_path)
    assert status == 1 and 'expected faces' in error
    assert not (tmp_path / 'a.png').exists()
