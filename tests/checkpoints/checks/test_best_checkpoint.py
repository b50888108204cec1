"""A resumed run keeps only its own best checkpoints, which mmengine may delete."""

import pytest
import torch
from toy_runner import toy_cfg, train_toy

from abaw_mm.checkpoints.checks.best_checkpoint import keep_own_best


@pytest.fixture
def folders(tmp_path):
    """A work dir with its best checkpoint, and another folder with a file of the same name."""
    for name in ('run', 'other'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'best_f1_iter_2.pth').touch()
    (tmp_path / 'other/best_f1_iter_9.pth').touch()
    (tmp_path / 'run/iter_2.pth').touch()
    return tmp_path / 'run', tmp_path / 'other'


@pytest.mark.parametrize('suffix', ['', '_affwild2/macro_f1'])
def test_own_best_is_kept_and_another_is_dropped(folders, suffix):
    run, other = folders

    def keep(path, score=0.5):
        info = {f'best_ckpt{suffix}': path, f'best_score{suffix}': score, 'iter': 2}
        keep_own_best(info, str(run))
        return info.pop(f'best_ckpt{suffix}', None), info

    own = str(run / 'best_f1_iter_2.pth')
    kept = {f'best_score{suffix}': 0.5, 'iter': 2}
    assert keep(own) == (own, kept)
    assert keep(str(other / 'best_f1_iter_2.pth')) == (own, kept)  # the work dir was copied
    for path in (
        str(other / 'best_f1_iter_9.pth'),
        str(other),
        str(run),
        str(run / 'iter_2.pth'),
        f'{run}/../other/best_f1_iter_9.pth',
        '/',
        '',
        None,
        5,
    ):
        assert keep(path) == (None, dict(iter=2))
    assert keep(own, 'high') == (None, dict(iter=2))


def test_best_of_another_metric_is_dropped(folders):
    run, _ = folders
    path = str(run / 'best_f1_iter_2.pth')
    for metrics, kept in (['f1'], True), (['loss', 'f1'], True), (['f'], False), (['a/f1'], False):
        info = dict(best_ckpt=path, best_score=0.5)
        dropped = keep_own_best(info, str(run), metrics)
        assert dropped == ([] if kept else ['best_ckpt', 'best_score'])
        assert info == (dict(best_ckpt=path, best_score=0.5) if kept else {})


def test_steps_to_delete_are_numbers(tmp_path):
    info = dict(keep_ckpt_ids=[1, 2])
    assert keep_own_best(info, str(tmp_path)) == [] and info == dict(keep_ckpt_ids=[1, 2])
    for ids in (['../../other/a'], 'text', [True]):
        info = dict(keep_ckpt_ids=ids)
        assert keep_own_best(info, str(tmp_path)) == ['keep_ckpt_ids'] and not info


def test_resumed_run_deletes_nothing_outside_its_work_dir(tmp_path):
    train_toy(toy_cfg(tmp_path / 'run', iters=2))
    victim = tmp_path / 'precious'
    victim.mkdir()
    state = torch.load(tmp_path / 'run/iter_2.pth', weights_only=False)
    state['message_hub']['runtime_info'].update(best_ckpt=str(victim), best_score=-1.0)
    torch.save(state, tmp_path / 'run/iter_2.pth')
    cfg = toy_cfg(
        tmp_path / 'run', iters=3, resume=True, load_from=str(tmp_path / 'run/iter_2.pth')
    )
    cfg['custom_hooks'] = [dict(type='ResumeHook')]
    runner = train_toy(cfg)
    assert victim.is_dir()
    assert 'best_ckpt' not in runner.message_hub.runtime_info
