"""Hooks on a real Runner: weights are told of, checkpoints fit, widths fit."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from abaw_mm import checkpoints, compat
from abaw_mm.apis.config import (
    load_config,
    set_loader_flags,
)
from abaw_mm.datasets import AffWild2Dataset
from abaw_mm.engine.hooks import FrameBatchHook
from abaw_mm.evaluation import MacroF1


@pytest.fixture
def warnings(monkeypatch):
    """Warnings of all loggers of mmengine, of which every Runner makes its own."""
    records = []
    call_handlers = MMLogger.callHandlers

    def keep(self, record):
        if record.levelno >= logging.WARNING:
            records.append(record.getMessage())
        call_handlers(self, record)

    monkeypatch.setattr(MMLogger, 'callHandlers', keep)
    return records


def config(repo, tiny, work_dir, name='res18_srp_affwild2', **options):
    """The Res-18 recipe, for one step on tiny data."""
    cfg = load_config(str(repo / f'configs/{name}.py'), work_dir=str(work_dir))
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.dataset.data_root = str(tiny)
        loader.num_workers, loader.batch_size = 0, 4
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    cfg.default_hooks.checkpoint.update(interval=1)
    cfg.merge_from_dict(options)
    set_loader_flags(cfg, pin_memory=True, persistent_workers=True)
    return compat.adapt_cfg_to_cpu(cfg, 'none')


def about_random(warnings):
    return [line for line in warnings if 'random weights' in line]


@pytest.fixture
def ssl_weights(tmp_path):
    torch.manual_seed(1)
    backbone = MODELS.build(dict(type='ResNet', depth=18))
    path = tmp_path / 'ssl.pth'
    state_dict = {f'backbone.{k}': v for k, v in backbone.state_dict().items()}
    torch.save(dict(state_dict=state_dict), path)
    return path


def test_random_frozen_stages_are_told_at_start_and_end(repo, tiny, tmp_path, warnings):
    Runner.from_cfg(config(repo, tiny, tmp_path / 'run')).train()
    assert len(about_random(warnings)) == 2
    assert 'its 3 frozen stages stay random' in warnings[0]
    # and again when the checkpoint is tested
    cfg = config(repo, tiny, tmp_path / 'test', load_from=str(tmp_path / 'run/iter_1.pth'))
    Runner.from_cfg(cfg).test()
    assert len(about_random(warnings)) == 3


def test_checkpoint_setting_fills_frozen_stages(repo, tiny, tmp_path, ssl_weights, warnings):
    cfg = config(repo, tiny, tmp_path / 'run', checkpoint=str(ssl_weights))
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert not about_random(warnings)
    expected = torch.load(ssl_weights, weights_only=True)['state_dict']
    parts = ('conv1', 'bn1', 'layer1', 'layer2', 'layer3')
    frozen = [k for k in expected if k.split('.')[1] in parts]
    state = runner.model.state_dict()
    assert len(frozen) == 90
    for key in frozen:  # weights and BN statistics, after a step of training
        assert torch.equal(state[key], expected[key]), key
    assert not torch.equal(
        state['backbone.layer4.0.conv1.weight'], expected['backbone.layer4.0.conv1.weight']
    )
    assert not torch.equal(
        state['backbone.layer4.0.bn1.running_mean'], expected['backbone.layer4.0.bn1.running_mean']
    )


def test_checkpoint_that_is_not_there(repo, tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match="checkpoint='gone.pth': no such file"):
        Runner.from_cfg(config(repo, tiny, tmp_path, checkpoint='gone.pth')).train()


def test_a_checkpoint_of_another_model_is_no_test(repo, tiny, tmp_path):
    wrong = MODELS.build(Config.fromfile(repo / 'configs/res18_gap_affwild2.py').model)
    torch.save(dict(state_dict=wrong.state_dict(), meta={}), tmp_path / 'gap.pth')
    cfg = config(repo, tiny, tmp_path, load_from=str(tmp_path / 'gap.pth'))
    with pytest.raises(ValueError, match=r'does not fit the model: \d+ tensors differ: neck.conv1'):
        Runner.from_cfg(cfg).test()


def test_a_backbone_alone_is_no_test(repo, tiny, tmp_path, ssl_weights):
    state = torch.load(ssl_weights, weights_only=True)['state_dict']
    for prefix in ('backbone.', 'module.encoder_q.'):  # exported, and as MoCo leaves it
        torch.save(
            {key.replace('backbone.', prefix): value for key, value in state.items()}, ssl_weights
        )
        cfg = config(repo, tiny, tmp_path, load_from=str(ssl_weights))
        with pytest.raises(ValueError, match='holds a backbone alone.*best_.*checkpoint='):
            Runner.from_cfg(cfg).test()


def test_a_checkpoint_of_another_depth_says_which(repo, tiny, tmp_path):
    backbone = MODELS.build(dict(type='ResNet', depth=50)).state_dict()
    path = tmp_path / 'r50.pth'
    torch.save({f'backbone.{key}': value for key, value in backbone.items()}, path)
    told = (
        r'the file holds a ResNet-50, the config builds a ResNet-18; use configs/res50_\.\.\., '
        'or weights of a ResNet-18'
    )
    with pytest.raises(ValueError, match=told):
        Runner.from_cfg(config(repo, tiny, tmp_path / 'a', load_from=str(path))).test()
    with pytest.raises(ValueError, match=told):
        Runner.from_cfg(config(repo, tiny, tmp_path / 'b', checkpoint=str(path))).train()


def test_a_complete_run_that_is_resumed_says_so_and_warns_once(repo, tiny, tmp_path, warnings):
    Runner.from_cfg(config(repo, tiny, tmp_path / 'run')).train()
    warnings.clear()
    path = tmp_path / 'run/iter_1.pth'
    cfg = config(repo, tiny, tmp_path / 'run', resume=True, load_from=str(path))
    Runner.from_cfg(cfg).train()
    [line] = [line for line in warnings if 'left to do' in line]
    assert f'{path} is at iteration 1 of 1. ' in line
    assert 'raise train_cfg.max_iters' in line and 'tools/test.py' in line
    assert len(about_random(warnings)) == 1


def test_two_datasets_with_the_same_frames_are_not_scored_together(tiny):
    dataset = AffWild2Dataset(
        data_root=str(tiny), ann_file='annotations/EXPR_Recognition_Challenge/Train_Set'
    )
    loader = torch.utils.data.DataLoader(ConcatDataset([dataset, dataset]))
    loop = SimpleNamespace(dataloader=loader, evaluator=SimpleNamespace(metrics=[MacroF1()]))
    with pytest.raises(ValueError, match='is in two datasets of the set'):
        FrameBatchHook().before_test(SimpleNamespace(test_loop=loop))
    loop.evaluator.metrics = []  # of no concern to others
    FrameBatchHook().before_test(SimpleNamespace(test_loop=loop))


def test_load_from_may_lack_a_head_but_no_backbone(repo, tiny, tmp_path, ssl_weights, warnings):
    cfg = config(repo, tiny, tmp_path / 'a', load_from=str(ssl_weights))
    Runner.from_cfg(cfg).train()
    [told] = [line for line in warnings if 'load_from: ' in line]
    assert 'neck.conv1.conv.weight' in told and '  matched     100 of 112\n' in told
    state = torch.load(ssl_weights, weights_only=True)['state_dict']
    renamed = {key.replace('backbone.', 'encoder.'): value for key, value in state.items()}
    torch.save(dict(state_dict=renamed), ssl_weights)
    with pytest.raises(ValueError, match='belong into `checkpoint`, not into load_from') as error:
        Runner.from_cfg(config(repo, tiny, tmp_path / 'b', load_from=str(ssl_weights))).train()
    # one table of what load_from would take, one of what `checkpoint` takes
    assert '  matched     0 of 112\n' in str(error.value)
    assert '  matched     100 of 100\n' in str(error.value)


def test_a_config_in_a_checkpoint_is_not_run(repo, tiny, tmp_path):
    Runner.from_cfg(config(repo, tiny, tmp_path / 'run')).train()
    path = tmp_path / 'run/iter_1.pth'
    checkpoint = checkpoints.load_checkpoint_file(str(path))
    sentinel = tmp_path / 'executed'
    checkpoint['meta']['cfg'] = checkpoint['meta']['config'] = (
        f'open({str(sentinel)!r}, "w").close()'
    )
    torch.save(checkpoint, path)
    cfg = config(repo, tiny, tmp_path / 'run', load_from=str(path), resume=True)
    cfg.train_cfg.max_iters = 2
    Runner.from_cfg(cfg).train()
    assert not sentinel.exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'model.head.in_channels': 512},
            r'gives 2304 features a frame for images of 224x224 pixels, model.head.in_channels '
            r'expects 512',
        ),
        (
            {'data_preprocessor.crop_size': 112},
            r'gives 256 features a frame for images of 112x112 pixels, model.head.in_channels '
            r'expects 2304',
        ),
        ({'data_preprocessor.crop_size': 64}, 'got a map of 2x2 cells'),
    ],
)
def test_widths_are_checked_before_training(repo, tiny, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(config(repo, tiny, tmp_path, **options)).train()
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.parametrize('name', ['res18_srp_affwild2', 'res18_srp_affwild2_plain'])
def test_resume_skips_in_the_sampler_and_reads_nothing_again(
    repo, tiny, tmp_path, monkeypatch, name
):
    """A run that is resumed at step 3 sees the batches of one that was not, and only those."""

    def batches(work_dir, max_iters, **options):
        cfg = config(repo, tiny, tmp_path / work_dir, name, **options)
        cfg.train_cfg.update(max_iters=max_iters, val_interval=100)
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

    straight, _ = batches('straight', 5)
    stopped, _ = batches('run', 3)
    resumed, read = batches('run', 5, resume=True, load_from=str(tmp_path / 'run/iter_3.pth'))
    assert stopped == straight[:3] and resumed == straight[3:]
    assert len(read) == 1 + 2 * 4  # one image for the widths, two batches


@pytest.mark.parametrize('workers', [1, 2])
def test_same_crops_for_any_number_of_workers(repo, tiny, tmp_path, workers):
    """The network's inputs of some steps, against those without workers."""

    def inputs(work_dir, workers):
        cfg = config(repo, tiny, tmp_path / work_dir, 'res18_srp_affwild2')
        cfg.train_dataloader.num_workers = workers
        cfg.train_cfg.update(max_iters=3, val_interval=100)
        runner = Runner.from_cfg(cfg)
        seen, forward = [], runner.model.data_preprocessor.forward

        def keep(data, training=False):
            out = forward(data, training)
            if training:
                seen.append(out['inputs'])
            return out

        runner.model.data_preprocessor.forward = keep
        runner.train()
        return torch.cat(seen)

    assert torch.equal(inputs('a', 0), inputs('b', workers))


def test_unreadable_frames_are_counted_at_each_evaluation(repo, tiny, tmp_path, warnings):
    for number in range(5, 21):
        path = tiny / f'cropped_aligned/video10_left/{number:05d}.jpg'
        path.write_bytes(path.read_bytes()[:-2])
    cfg = config(
        repo,
        tiny,
        tmp_path / 'run',
        **{
            'train_dataloader.dataset.unreadable': 'nearest',
            'train_dataloader.sampler.stride': 1,
            'train_dataloader.batch_size': 36,
            'train_dataloader.num_workers': 1,
        },
    )
    cfg.train_cfg.update(max_iters=2, val_interval=1)
    Runner.from_cfg(cfg).train()
    counts = [line for line in warnings if line.startswith('Unreadable frames: ')]
    # 16 of the 36 frames, each once an epoch; the worker has read some epochs ahead
    times = [int(line.split('stood in ')[1].split()[0]) for line in counts]
    assert times and all(number > 0 and number % 16 == 0 for number in times)


def test_a_training_stops_at_an_unreadable_frame(repo, tiny, tmp_path):
    for path in tiny.glob('cropped_aligned/video10_left/*.jpg'):
        path.write_bytes(path.read_bytes()[:-2])
    cfg = config(
        repo,
        tiny,
        tmp_path / 'run',
        **{
            'train_dataloader.sampler.stride': 1,
            'train_dataloader.batch_size': 36,
        },
    )
    with pytest.raises(ValueError, match=r'video10_left/000\d\d\.jpg: got Premature end'):
        Runner.from_cfg(cfg).train()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'train_dataloader.sampler.infinite': False},
            'got infinite=False in a IterBasedTrainLoop, expected True',
        ),
        (
            {'train_cfg': dict(_delete_=True, by_epoch=True, max_epochs=1)},
            'got infinite=True in a EpochBasedTrainLoop, expected False',
        ),
        (
            {'train_dataloader.sampler': dict(_delete_=True, type='InfiniteSampler')},
            'collate_frames: got a InfiniteSampler, expected a FrameStrideSampler',
        ),
        (
            {'val_evaluator': dict(type='SingleLabelMetric', num_classes=8)},
            'collate_frames: got the metric SingleLabelMetric, expected MacroF1',
        ),
    ],
)
def test_parts_that_do_not_fit_are_told_before_training(repo, tiny, tmp_path, options, message):
    cfg = config(repo, tiny, tmp_path, 'res18_srp_affwild2')
    for key, value in options.items():
        if isinstance(value, dict) and value.pop('_delete_', False):
            *parents, last = key.split('.')
            node = cfg
            for parent in parents:
                node = node[parent]
            node[last] = value
        else:
            cfg.merge_from_dict({key: value})
    if cfg.train_cfg.get('by_epoch'):
        cfg.param_scheduler = None
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(cfg).train()
    assert not list(tmp_path.glob('*.pth'))


def test_an_epoch_based_training_ends(repo, tiny, tmp_path):
    cfg = config(
        repo,
        tiny,
        tmp_path,
        'res18_srp_affwild2',
        **{
            'train_dataloader.sampler.infinite': False,
            'train_dataloader.sampler.stride': 4,
        },
    )
    cfg.train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
    cfg.param_scheduler = None
    cfg.default_hooks.checkpoint.update(by_epoch=True)
    Runner.from_cfg(cfg).train()
    assert (tmp_path / 'epoch_2.pth').is_file()


def test_a_resumed_run_keeps_its_own_seed(repo, tiny, tmp_path):
    """Not the config's: the checkpoint of seed 5 goes on with the frames of seed 5."""

    def sampler_after(**options):
        cfg = config(repo, tiny, tmp_path, **options)
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner.train_loop.dataloader.sampler

    assert sampler_after(**{'randomness.seed': 5}).seed == 5
    resumed = {'train_cfg.max_iters': 2, 'resume': True, 'load_from': str(tmp_path / 'iter_1.pth')}
    assert sampler_after(**resumed).seed == 5
    resumed['train_dataloader.sampler.seed'] = 7
    assert sampler_after(**resumed).seed == 7  # unless the config gives the sampler its own
