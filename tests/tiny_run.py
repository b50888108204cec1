"""A config of a few steps on tiny data, for tests of hooks on a Runner."""

import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from abaw_mm.apis.config import load_config, set_loader_flags
from abaw_mm.compat import adapt_cfg_to_cpu


def tiny_cfg(
    repo, tiny, work_dir, name='res18_srp_affwild2', max_iters=1, val_interval=1, **options
) -> Config:
    """Load a recipe for one step on tiny data."""
    cfg = load_config(str(repo / f'configs/{name}.py'), work_dir=str(work_dir))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(tiny)
        loader.num_workers, loader.batch_size = 0, 4
    cfg.train_cfg.update(max_iters=max_iters, val_interval=val_interval)
    cfg.default_hooks.checkpoint.update(interval=1)
    cfg.merge_from_dict(options)
    set_loader_flags(cfg, pin_memory=True, persistent_workers=True)
    return adapt_cfg_to_cpu(cfg, 'none')


def save_backbone(path, depth=18, prefix='backbone.') -> dict[str, torch.Tensor]:
    """Save the weights of a ResNet under a prefix, and return them with that prefix."""
    torch.manual_seed(1)
    backbone = MODELS.build(dict(type='ResNet', depth=depth))
    state_dict = {f'{prefix}{name}': value for name, value in backbone.state_dict().items()}
    torch.save(dict(state_dict=state_dict), path)
    return state_dict
