"""A checkpoint that does not fit the model is refused before the model is filled."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from tiny_run import save_backbone, tiny_cfg

from abaw_mm.apis import test as run_test
from abaw_mm.apis import train
from abaw_mm.apis.config import load_config
from abaw_mm.apis.load_classifier import load_classifier
from abaw_mm.checkpoints import load_checkpoint_file
from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.evaluation import Predictions


def test_test_refuses_a_checkpoint_of_another_model(repo, tiny, tmp_path):
    other = MODELS.build(Config.fromfile(repo / 'configs/res18_gap_affwild2.py').model)
    torch.save(dict(state_dict=other.state_dict(), meta={}), tmp_path / 'gap.pth')
    cfg = tiny_cfg(repo, tiny, tmp_path, load_from=str(tmp_path / 'gap.pth'))
    with pytest.raises(ValueError, match=r'does not fit the model: \d+ tensors differ: neck.conv1'):
        Runner.from_cfg(cfg).test()


@pytest.mark.parametrize('prefix', ['backbone.', 'module.encoder_q.'])
def test_test_refuses_a_backbone_alone(repo, tiny, tmp_path, prefix):
    save_backbone(tmp_path / 'ssl.pth', prefix=prefix)
    cfg = tiny_cfg(repo, tiny, tmp_path, load_from=str(tmp_path / 'ssl.pth'))
    with pytest.raises(ValueError, match='got a checkpoint of a backbone alone.*checkpoint='):
        Runner.from_cfg(cfg).test()


@pytest.mark.slow
def test_error_names_both_depths(repo, tiny, tmp_path):
    path = tmp_path / 'r50.pth'
    save_backbone(path, depth=50)
    match = (
        r'the file holds a ResNet-50, the config builds a ResNet-18; use configs/res50_\.\.\., '
        'or weights of a ResNet-18'
    )
    with pytest.raises(ValueError, match=match):
        Runner.from_cfg(tiny_cfg(repo, tiny, tmp_path / 'a', load_from=str(path))).test()
    with pytest.raises(ValueError, match=match):
        Runner.from_cfg(tiny_cfg(repo, tiny, tmp_path / 'b', checkpoint=str(path))).train()


def test_load_from_may_lack_neck_and_head(repo, tiny, tmp_path, logged_warnings):
    save_backbone(tmp_path / 'ssl.pth')
    cfg = tiny_cfg(repo, tiny, tmp_path / 'run', load_from=str(tmp_path / 'ssl.pth'))
    Runner.from_cfg(cfg).train()
    [line] = [line for line in logged_warnings if 'load_from: ' in line]
    assert 'neck.conv1.conv.weight' in line and '  matched     100 of 112\n' in line


def test_load_from_needs_the_backbone(repo, tiny, tmp_path):
    save_backbone(tmp_path / 'ssl.pth', prefix='encoder.')
    cfg = tiny_cfg(repo, tiny, tmp_path / 'run', load_from=str(tmp_path / 'ssl.pth'))
    with pytest.raises(ValueError, match='belong in `checkpoint`, not load_from') as error:
        Runner.from_cfg(cfg).train()
    # a table of what load_from would load, and one of what `checkpoint` would
    assert '  matched     0 of 112\n' in str(error.value)
    assert '  matched     100 of 100\n' in str(error.value)


@pytest.mark.slow
def test_permuted_head_scores_as_the_original(repo, tiny, tmp_path):
    """The classes of a folder per class are in alphabetical order."""
    cfg = tiny_cfg(repo, tiny, tmp_path / 'train')
    Runner.from_cfg(cfg).train()
    path, names = tmp_path / 'train/iter_1.pth', sorted(EXPRESSIONS)
    checkpoint = load_checkpoint_file(path)
    order = [EXPRESSIONS.index(name) for name in names]
    for name in ('head.fc.weight', 'head.fc.bias'):
        checkpoint['state_dict'][name] = checkpoint['state_dict'][name][order]
    checkpoint['meta']['dataset_meta'] = dict(classes=names)
    torch.save(checkpoint, tmp_path / 'permuted.pth')
    config = str(tmp_path / 'mine.py')
    cfg.dump(config)
    reorder = {'default_hooks.strict_checkpoint.reorder_classes': True}

    def score(checkpoint, **options):
        out = tmp_path / 'out.npz'
        run_test(config, str(checkpoint), str(tmp_path / 'test'), str(out), **options)
        return Predictions.read(out)

    with pytest.raises(ValueError, match='the same classes in another order'):
        score(tmp_path / 'permuted.pth')
    with pytest.raises(ValueError, match='start a new training from it with load_from'):
        train(
            config,
            str(tmp_path / 'resumed'),
            resume=str(tmp_path / 'permuted.pth'),
            cfg_options=reorder,
        )
    first, second = score(path), score(tmp_path / 'permuted.pth', cfg_options=reorder)
    assert np.array_equal(first['pred_score'], second['pred_score'])
    loaded = load_config(config)
    with pytest.raises(ValueError, match='the same classes in another order'):
        load_classifier(loaded, str(tmp_path / 'permuted.pth'))
    loaded.merge_from_dict(reorder)
    model = load_classifier(loaded, str(tmp_path / 'permuted.pth'))
    assert torch.equal(
        model.head.fc.weight, load_checkpoint_file(path)['state_dict']['head.fc.weight']
    )
