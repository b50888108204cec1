"""No validation is lost, whenever a run is killed, and ``best_*`` is that of an unbroken run."""

import signal
from functools import partial

import pytest
import torch
from mmengine.runner import Runner
from tiny_run import tiny_cfg

from abaw_mm.checkpoints.load import load_checkpoint_file

SCORE = 'affwild2/macro_f1'


@pytest.fixture(scope='module')
def whole(kills, tmp_path_factory):
    """Data, and the end of an unbroken run on it."""
    folder = tmp_path_factory.mktemp('whole')
    data = kills.make_data(folder / 'data')
    assert kills.run_once('temporal', data, folder / 'run') == 0
    return data, kills.read_end(folder / 'run')


@pytest.mark.parametrize(
    ('moment', 'count'),
    [
        ('checkpoint, not yet validated', 2),
        ('checkpoint, not yet validated', 6),  # that of the last step
        ('validated, best not saved', 1),
        ('best saved, checkpoint not', 2),
    ],
)
def test_killed_run_ends_with_the_same_best_checkpoint(kills, whole, tmp_path, moment, count):
    data, expected = whole
    scores = [line[SCORE] for line in expected['log'].values() if SCORE in line]
    assert len(scores) == kills.ITERS // kills.VALIDATE_EVERY
    assert expected['iter_12.pth'][2]['best_score'] == f'{max(scores)}'
    assert len([name for name in expected if name.startswith('best_')]) == 1
    run = tmp_path / 'run'
    assert kills.run_once('temporal', data, run, moment=(moment, count)) == -signal.SIGKILL
    assert kills.run_once('temporal', data, run) == 0
    assert list(kills.list_differences(expected, kills.read_end(run))) == []


@pytest.mark.slow
def test_killed_run_keeps_the_same_checkpoints(kills, tmp_path):
    """A new best between two checkpoints is saved as one, also as the first of a resumed run."""
    data = kills.make_data(tmp_path / 'data')
    run_once = partial(kills.run_once, 'temporal', data, processes=2)
    assert run_once(tmp_path / 'whole') == 0
    expected = kills.read_end(tmp_path / 'whole')
    assert 'iter_10.pth' in expected and kills.SAVE_EVERY == 4
    killed = ('best saved, checkpoint not', 4)
    assert run_once(tmp_path / 'run', moment=killed) == -signal.SIGKILL
    assert run_once(tmp_path / 'run') == 0
    assert list(kills.list_differences(expected, kills.read_end(tmp_path / 'run'))) == []


def lose_validation(path):
    """Turn a checkpoint into the one that is saved before the validation of its step."""
    checkpoint = torch.load(path, weights_only=False)
    info = checkpoint['message_hub']['runtime_info']
    lost = {name: info.pop(name) for name in ('best_score', 'best_ckpt', 'validated_iter')}
    torch.save(checkpoint, path)
    return lost


@pytest.mark.parametrize('by_epoch', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_lost_validation_of_a_complete_run_is_made_up_once(
    repo, tiny, tmp_path, by_epoch, monkeypatch
):
    options = {'train_dataloader.sampler.infinite': not by_epoch}
    cfg = tiny_cfg(repo, tiny, tmp_path, **options)
    if by_epoch:
        cfg.train_cfg = dict(by_epoch=True, max_epochs=1)
        cfg.param_scheduler = None
        cfg.default_hooks.checkpoint.update(by_epoch=True)
    Runner.from_cfg(cfg).train()
    name = 'epoch_1.pth' if by_epoch else 'iter_1.pth'
    best = tmp_path / f'best_affwild2_macro_f1_{name}'
    weights = load_checkpoint_file(best)['state_dict']
    lost = lose_validation(tmp_path / name)
    best.unlink()

    cfg.update(resume=True, load_from=str(tmp_path / name))
    Runner.from_cfg(cfg).train()
    found = load_checkpoint_file(tmp_path / name)['message_hub']['runtime_info']
    assert {key: found[key] for key in lost} == lost
    again = load_checkpoint_file(best)['state_dict']
    assert all(torch.equal(again[key], value) for key, value in weights.items())

    runner = Runner.from_cfg(cfg)
    monkeypatch.setattr(runner.val_loop, 'run', lambda: pytest.fail('validated again'))
    runner.train()


@pytest.mark.slow
@pytest.mark.parametrize('template', ['iter_{}.pth', 'iter_{:06d}.pth'])
def test_best_checkpoints_of_later_steps_are_removed_with_the_next_best(
    repo, tiny, tmp_path, template
):
    """A run that goes on from an older checkpoint ends with one best file, and leaves others."""
    options = {'default_hooks.checkpoint.filename_tmpl': template}
    cfg = tiny_cfg(repo, tiny, tmp_path, **options)
    Runner.from_cfg(cfg).train()
    first, seventh = template.format(1), template.format(7)
    lose_validation(tmp_path / first)
    later = tmp_path / f'best_affwild2_macro_f1_{seventh}'
    others = ['best_mine.pth', f'best_affwild2_macro_f1_{seventh}_copy', f'best_loss_{seventh}']
    for path in (later, *(tmp_path / name for name in others)):
        path.write_bytes(b'')
    cfg.update(resume=True, load_from=str(tmp_path / first))
    Runner.from_cfg(cfg).train()
    assert sorted(path.name for path in tmp_path.glob('best_*')) == sorted(
        [*others, f'best_affwild2_macro_f1_{first}']
    )
