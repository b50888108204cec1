"""A tiny model and dataset for tests that need a whole Runner of mmengine."""

import itertools

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner

from abaw_mm.compat import adapt_cfg_to_cpu
from abaw_mm.engine.end_workers import end_workers

RUNS = itertools.count()


class ToyModel(BaseModel):
    """A neck of mmpretrain with its default norm, SyncBN."""

    def __init__(self):
        super().__init__()
        from mmpretrain.models import NonLinearNeck  # imported after the patches

        self.neck = NonLinearNeck(2, hid_channels=4, out_channels=2, with_avg_pool=False)

    def forward(self, x, mode='tensor'):
        out = self.neck((x.float(),))[0]
        self.dtype = out.dtype
        return dict(loss=(out.float() - x).square().mean()) if mode == 'loss' else out


class ToyVectors(torch.utils.data.Dataset):
    """Eight vectors."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(x=torch.tensor([index, -1.0]))


MODELS.register_module('ToyModel', module=ToyModel, force=True)
DATASETS.register_module('ToyVectors', module=ToyVectors, force=True)


def toy_cfg(work_dir, iters=2, launcher='none', **options):
    """Config of an iteration-based training that saves a checkpoint every two steps."""
    return Config(
        dict(
            model=dict(type='ToyModel'),
            work_dir=str(work_dir),
            launcher=launcher,
            train_dataloader=dict(
                dataset=dict(type='ToyVectors'),
                batch_size=4,
                num_workers=0,
                collate_fn=dict(type='default_collate'),
                sampler=dict(type='InfiniteSampler', shuffle=False),
            ),
            train_cfg=dict(by_epoch=False, max_iters=iters),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
            param_scheduler=[dict(type='OneCycleLR', eta_max=0.1, total_steps=10, by_epoch=False)],
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False),
            ),
            default_scope='mmpretrain',
            log_level='WARNING',
            experiment_name=f'toy{next(RUNS)}',  # mmengine keeps logs by this name
            **options,
        )
    )


def train_toy(cfg):
    """Train a config of :func:`toy_cfg` and return the Runner."""
    runner = Runner.from_cfg(adapt_cfg_to_cpu(cfg, cfg.launcher))
    with end_workers(runner):
        runner.train()
    return runner
