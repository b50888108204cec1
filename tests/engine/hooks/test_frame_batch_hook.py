"""Incompatible parts are refused before a run, and keys make a run reproducible."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import ConcatDataset
from mmengine.runner import Runner
from tiny_run import tiny_cfg

from abaw_mm.datasets import AffWild2Dataset
from abaw_mm.engine.hooks import FrameBatchHook
from abaw_mm.evaluation import MacroF1


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'train_dataloader.sampler.infinite': False},
            'got infinite=False with IterBasedTrainLoop, expected True',
        ),
        (
            {'train_cfg': dict(by_epoch=True, max_epochs=1), 'param_scheduler': None},
            'got infinite=True with EpochBasedTrainLoop, expected False',
        ),
        (
            {'train_dataloader.sampler': dict(type='InfiniteSampler')},
            'got a InfiniteSampler, expected a FrameStrideSampler',
        ),
        (
            {'val_evaluator': dict(type='SingleLabelMetric', num_classes=8)},
            'collate_frames: got the metric SingleLabelMetric, expected MacroF1',
        ),
    ],
)
def test_incompatible_parts_are_refused_before_training(repo, tiny, tmp_path, options, message):
    cfg = tiny_cfg(repo, tiny, tmp_path)
    for key, value in options.items():
        *parents, last = key.split('.')
        node = cfg
        for parent in parents:
            node = node[parent]
        node[last] = value  # merge_from_dict would keep entries of the old value
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(cfg).train()
    assert not list(tmp_path.glob('*.pth'))


def test_datasets_with_the_same_frames_are_not_scored_together(tiny):
    dataset = AffWild2Dataset(
        data_root=str(tiny), ann_file='annotations/EXPR_Recognition_Challenge/Train_Set'
    )
    loader = torch.utils.data.DataLoader(ConcatDataset([dataset, dataset]))
    loop = SimpleNamespace(dataloader=loader, evaluator=SimpleNamespace(metrics=[MacroF1()]))
    with pytest.raises(ValueError, match='is in two datasets of the set'):
        FrameBatchHook().before_test(SimpleNamespace(test_loop=loop))
    loop.evaluator.metrics = []  # other metrics accept them
    FrameBatchHook().before_test(SimpleNamespace(test_loop=loop))


def test_epoch_based_training_works(repo, tiny, tmp_path):
    options = {'train_dataloader.sampler.infinite': False, 'train_dataloader.sampler.stride': 4}
    cfg = tiny_cfg(repo, tiny, tmp_path, **options)
    cfg.train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
    cfg.param_scheduler = None
    cfg.default_hooks.checkpoint.update(by_epoch=True)
    Runner.from_cfg(cfg).train()
    assert (tmp_path / 'epoch_2.pth').is_file()


@pytest.mark.parametrize('workers', [1, 2])
def test_crops_do_not_depend_on_the_number_of_workers(repo, tiny, tmp_path, workers):
    def collect_inputs(work_dir, workers):
        options = {'train_dataloader.num_workers': workers}
        cfg = tiny_cfg(repo, tiny, tmp_path / work_dir, max_iters=3, val_interval=100, **options)
        runner = Runner.from_cfg(cfg)
        seen, forward = [], runner.model.data_preprocessor.forward

        def collect(data, training=False):
            out = forward(data, training)
            if training:
                seen.append(out['inputs'])
            return out

        runner.model.data_preprocessor.forward = collect
        runner.train()
        return torch.cat(seen)

    assert torch.equal(collect_inputs('a', 0), collect_inputs('b', workers))


@pytest.mark.parametrize('name', ['res18_srp_affwild2', 'res18_srp_affwild2_plain'])
def test_resume_continues_the_draw_without_reading_past_frames(
    repo, tiny, tmp_path, monkeypatch, name
):
    def collect_batches(work_dir, max_iters, **options):
        cfg = tiny_cfg(repo, tiny, tmp_path / work_dir, name, max_iters, 100, **options)
        cfg.default_hooks.checkpoint.update(interval=3)
        runner = Runner.from_cfg(cfg)
        seen, step = [], runner.model.train_step

        def train_step(data, optim_wrapper):
            if 'key' in data:  # frames and, by their keys, their crops
                seen.append([data['sample_idx'].tolist(), data['key'].tolist()])
            else:
                seen.append([sample.sample_idx for sample in data['data_samples']])
            return step(data, optim_wrapper)

        runner.model.train_step = train_step
        read = []
        dataset = runner.train_loop.dataloader.dataset
        get = dataset.get_data_info
        monkeypatch.setattr(dataset, 'get_data_info', lambda i: read.append(i) or get(i))
        runner.train()
        return seen, read

    whole, _ = collect_batches('whole', 5)
    stopped, _ = collect_batches('run', 3)
    options = dict(resume=True, load_from=str(tmp_path / 'run/iter_3.pth'))
    resumed, read = collect_batches('run', 5, **options)
    assert stopped == whole[:3] and resumed == whole[3:]
    assert len(read) == 1 + 2 * 4  # one image for FeatureWidthHook, two batches


def test_resumed_run_keeps_the_seed_of_its_checkpoint(repo, tiny, tmp_path):
    def train(**options):
        runner = Runner.from_cfg(tiny_cfg(repo, tiny, tmp_path, **options))
        runner.train()
        return runner.train_loop.dataloader.sampler

    assert train(**{'randomness.seed': 5}).seed == 5
    resumed = {'train_cfg.max_iters': 2, 'resume': True, 'load_from': str(tmp_path / 'iter_1.pth')}
    assert train(**resumed).seed == 5
    resumed['train_dataloader.sampler.seed'] = 7
    assert train(**resumed).seed == 7  # unless the config sets the sampler's seed
