"""Incompatible parts are refused before a run, and keys make a run reproducible."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import ConcatDataset
from mmengine.runner import Runner
from PIL import Image
from tiny_run import tiny_cfg

from abaw_mm.datasets import AffWild2Dataset
from abaw_mm.engine.hooks import FrameBatchHook
from abaw_mm.evaluation import MacroF1

HEAD_WITH_NORM = dict(
    type='StackedLinearClsHead',
    num_classes=8,
    in_channels=2304,
    mid_channels=[8],
    norm_cfg=dict(type='BN1d'),
)
CUSTOM = dict(type='CustomDataset', data_root='FACES', pipeline=[dict(type='LoadFaceCrop')])
EPOCHS = {
    'train_cfg': dict(by_epoch=True, max_epochs=1),
    'param_scheduler': None,
    'train_dataloader.sampler.infinite': False,
    'train_dataloader.sampler.stride': 1,
}


@pytest.fixture
def faces(tmp_path, monkeypatch):
    """Write a folder of faces per class, as mmpretrain's CustomDataset reads it."""
    for number in range(16):
        path = tmp_path / f'FACES/{"abcdefgh"[number % 8]}/{number}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (16, 16), (number, 0, 0)).save(path)
    monkeypatch.chdir(tmp_path)


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
        (
            {'train_dataloader.dataset': CUSTOM},
            r'CustomDataset, expected an AffWild2Dataset.* inherit _base_/plain.py and set '
            r"train_dataloader.sampler=dict\(_delete_=True, type='InfiniteSampler'",
        ),
        (
            {
                'train_dataloader.dataset': CUSTOM,
                'train_dataloader.sampler': dict(type='InfiniteSampler'),
            },
            'got a InfiniteSampler, .* inherit _base_/plain.py, which accepts other samplers and',
        ),
        (
            {'val_dataloader.dataset': CUSTOM},
            'collate_frames: got a CustomDataset to score, .* inherit _base_/plain.py',
        ),
        (
            {'train_dataloader.batch_size': 1, 'model.head': HEAD_WITH_NORM},
            'got batch_size=1, .* BN layer head.layers.0.norm .*train_dataloader.batch_size=2',
        ),
        (
            {
                **EPOCHS,
                'train_dataloader.batch_size': 8,
                'train_dataloader.dataset.indices': 33,
                'model.head': HEAD_WITH_NORM,
            },
            'got a last batch of 1 of 33 frames, .* head.layers.0.norm .*dataloader.drop_last=True',
        ),
    ],
)
@pytest.mark.usefixtures('faces')
def test_incompatible_parts_are_refused_before_training(repo, tiny, tmp_path, options, message):
    cfg = tiny_cfg(repo, tiny, tmp_path)
    set_values(cfg, options)
    with pytest.raises((ValueError, TypeError), match=message):
        Runner.from_cfg(cfg).train()
    assert not list(tmp_path.glob('*.pth'))


def set_values(cfg, options):
    """Set values by their keys; merge_from_dict would keep entries of the old values."""
    for key, value in options.items():
        *parents, last = key.split('.')
        node = cfg
        for parent in parents:
            node = node[parent]
        node[last] = copy.deepcopy(value)


@pytest.mark.usefixtures('faces')
def test_custom_dataset_trains_in_the_plain_way(repo, tiny, tmp_path):
    """The lines that the errors of the fast way name."""
    cfg = tiny_cfg(repo, tiny, tmp_path, 'res18_srp_affwild2_plain')
    pipeline = [dict(type='LoadFaceCrop'), *cfg.train_dataloader.dataset.pipeline[1:-1]]
    pipeline.append(dict(type='PackInputs'))
    options = {
        'train_dataloader.dataset': dict(CUSTOM, pipeline=pipeline),
        'train_dataloader.sampler': dict(type='InfiniteSampler', shuffle=True),
    }
    set_values(cfg, options)
    Runner.from_cfg(cfg).train()
    assert (tmp_path / 'iter_1.pth').is_file()


@pytest.mark.parametrize(
    'options',
    [
        {'train_dataloader.drop_last': True},
        pytest.param({'train_dataloader.dataset.indices': 32}, marks=pytest.mark.slow),
    ],
)
def test_last_batch_of_more_frames_trains_with_a_norm_in_the_head(repo, tiny, tmp_path, options):
    cfg = tiny_cfg(repo, tiny, tmp_path)
    set_values(
        cfg,
        {
            **EPOCHS,
            'train_dataloader.batch_size': 8,
            'train_dataloader.dataset.indices': 33,
            'model.head': HEAD_WITH_NORM,
            **options,
        },
    )
    cfg.default_hooks.checkpoint.update(by_epoch=True)
    Runner.from_cfg(cfg).train()
    assert (tmp_path / 'epoch_1.pth').is_file()


def test_check_of_single_frames_leaves_the_statistics_unchanged(repo, tiny, tmp_path):
    cfg = tiny_cfg(repo, tiny, tmp_path, **{'train_dataloader.batch_size': 1})
    runner = Runner.from_cfg(cfg)
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    assert runner.train_loop.dataloader.batch_size == 1  # building the loop draws a seed
    state = torch.get_rng_state()
    FrameBatchHook().before_train_epoch(runner)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, before.values(), runner.model.state_dict().values()))


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
