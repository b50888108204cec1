"""Processes share the draw of frames, and random numbers depend on seed and step alone."""

import numpy as np
import pytest
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tiny_run import tiny_cfg
from torch.utils.data import DataLoader, Dataset

from abaw_mm.apis.build_runner import build_runner
from abaw_mm.datasets.samplers.seeded_batches import seed_batches


def check_ranks_draw_other_frames(repo, tiny, work_dir, seed):
    """Compare the frames of a pass through the training set, in a fresh and a resumed run."""

    def train(max_iters, **options):
        options = {
            'randomness': dict(seed=seed, diff_rank_seed=True),
            'train_dataloader.batch_size': 2,
            'train_dataloader.sampler.stride': 1,
            **options,
        }
        cfg = tiny_cfg(repo, tiny, work_dir, max_iters=max_iters, val_interval=100, **options)
        cfg.launcher = 'pytorch'
        runner = build_runner(cfg)
        seen = []

        class Collect(Hook):
            def before_train_iter(self, runner, batch_idx, data_batch):
                seen.append(data_batch['sample_idx'].tolist())
                seen.append((get_rank(), torch.rand(1).item()))

        runner.register_hook(Collect())
        runner.train()
        return all_gather_object(seen), len(runner.train_dataloader.dataset)

    whole, number = train(6)
    drawn = np.concatenate([batch for seen in whole for batch in seen[::2]])
    assert len(drawn) == 24 <= number and len(set(drawn.tolist())) == 24
    assert whole[0][1::2] != [(0, value) for _, value in whole[1][1::2]]  # of the model
    options = dict(resume=True, load_from=str(work_dir / 'iter_5.pth'))
    resumed, _ = train(6, **options)
    assert resumed == [seen[10:] for seen in whole]


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, None])
def test_processes_with_own_seeds_draw_other_frames(repo, tiny, tmp_path, run_distributed, seed):
    run_distributed(check_ranks_draw_other_frames, repo, tiny, tmp_path, seed)


@pytest.mark.slow
def test_random_numbers_of_a_step_do_not_depend_on_validations(repo, tiny, tmp_path):
    def collect(work_dir, val_interval):
        cfg = tiny_cfg(repo, tiny, tmp_path / work_dir, max_iters=3, val_interval=val_interval)
        runner, numbers = Runner.from_cfg(cfg), []
        step = runner.model.train_step

        def train_step(*args, **kwargs):
            numbers.append((torch.rand(1).item(), np.random.rand()))
            return step(*args, **kwargs)

        runner.model.train_step = train_step
        runner.train()
        return numbers

    often = collect('often', 1)
    assert often == collect('once', 3) and len(set(often)) == 3


class Draws(Dataset):
    """Items are the next random numbers of NumPy and torch."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return index, np.random.rand(), torch.rand(1).item()


@pytest.mark.parametrize('workers', [0, 1, 2])
def test_random_numbers_of_a_batch_do_not_depend_on_workers_and_past_batches(workers):
    def draw(workers, first):
        loader = DataLoader(
            Draws(), batch_size=2, num_workers=workers, collate_fn=list, drop_last=True
        )
        seed_batches(loader, 3, first)
        assert len(loader) == 4 and loader.batch_sampler.drop_last
        return list(loader)

    expected = draw(0, 0)
    assert draw(workers, 0) == expected
    assert len({item[1:] for batch in expected for item in batch}) == 8
    later = [[item[1:] for item in batch] for batch in draw(workers, 2)]
    assert later[:2] == [[item[1:] for item in batch] for batch in expected[2:]]
