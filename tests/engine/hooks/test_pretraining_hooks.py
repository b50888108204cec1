"""The watch over collapse, the probe, the exported backbone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmpretrain.registry import MODELS
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from abaw_mm.checkpoints.load import load_checkpoint_file
from abaw_mm.engine import (
    CollapseHook,
    ExportBackboneHook,
    ProbeHook,
)
from abaw_mm.engine.hooks.collapse_hook import feature_spread
from abaw_mm.engine.hooks.probe_hook import spread_rows
from abaw_mm.evaluation.probes import linear_predict

# --------------------------------------------------------------------------------- collapse


def test_spread_by_hand():
    features = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert feature_spread(features).item() == pytest.approx(1, abs=0.02)  # SimSiam's 1 / sqrt(D)
    assert feature_spread(features * torch.rand(4000, 1)).item() == pytest.approx(1, abs=0.02)
    assert feature_spread(torch.ones(8, 64) + 1e-4 * features[:8]) < 1e-3
    array = features[:10].numpy()
    unit = array / np.linalg.norm(array, axis=1, keepdims=True)
    assert feature_spread(features[:10]).item() == pytest.approx(unit.std(0).mean() * 8, rel=1e-5)
    maps = features[:8, :, None, None].expand(-1, -1, 3, 3)
    torch.testing.assert_close(feature_spread(maps), feature_spread(features[:8]))


class Net(nn.Module):
    """A backbone and a neck; `scale` 0 makes all outputs of the neck alike."""

    def __init__(self, scale):
        super().__init__()
        self.backbone = nn.Identity()
        self.neck = nn.Linear(8, 8)
        nn.init.eye_(self.neck.weight)
        self.neck.weight.data *= scale
        nn.init.ones_(self.neck.bias)


def step(hook, model, at, features):
    runner = SimpleNamespace(model=model, iter=at, message_hub=MessageHub.get_instance('collapse'))
    if at == 0:
        hook.before_train(runner)
    hook.before_train_iter(runner, at)
    model.neck(model.backbone(features))
    model.neck(model.backbone(torch.zeros_like(features)))  # a later view does not count
    hook.after_train_iter(runner, at)
    return runner


def test_healthy_run_goes_on_and_is_logged():
    hook, model = CollapseHook(interval=1, patience=1), Net(1.0)
    for at in range(3):
        runner = step(hook, model, at, torch.randn(16, 8))
    for name in ('backbone', 'neck'):
        assert runner.message_hub.get_scalar(f'train/spread_{name}').current() > 0.3
    hook.after_train(runner)
    assert not model.neck._forward_hooks and not model.backbone._forward_hooks


def test_collapsed_run_stops():
    hook, model = CollapseHook(interval=2, patience=2), Net(1e-4)
    for at in range(3):  # looks at steps 2 and 4
        step(hook, model, at, torch.randn(16, 8))
    with pytest.raises(
        RuntimeError,
        match=r'features of all faces have become the same.*neck.*'
        r'step 4, at the 2th look in a row, expected at least',
    ):
        step(hook, model, 3, torch.randn(16, 8))


def test_a_run_that_recovers_goes_on():
    hook, model = CollapseHook(interval=1, patience=2), Net(1.0)
    for at, scale in enumerate([1e-4, 1.0, 1e-4, 1.0]):
        nn.init.eye_(model.neck.weight).data.mul_(scale)
        step(hook, model, at, torch.randn(16, 8))


def test_diverged_run_stops_at_once():
    with pytest.raises(RuntimeError, match='not finite.*lower optim_wrapper.optimizer.lr'):
        step(CollapseHook(interval=1), Net(1.0), 0, torch.full((16, 8), torch.nan))


def check_all_processes_stop():
    hook, model = CollapseHook(interval=1, patience=1), Net(1e-4)
    if get_rank():  # half healthy: the mean of both is below the limit on both
        model = Net(3e-3)
    with pytest.raises(RuntimeError, match='have become the same'):
        step(hook, model, 0, torch.randn(16, 8))


def test_all_processes_stop_at_once(run_distributed):
    run_distributed(check_all_processes_stop)


# ------------------------------------------------------------------------------------ probe


def test_rows_are_spread_over_each_class():
    labels = np.array([0] * 100 + [3] * 4 + [0] * 100)
    rows = spread_rows(labels, 5)
    assert np.bincount(labels[rows]).tolist() == [5, 0, 0, 4]
    assert rows[0] == 0 and rows[-1] == 203 and (np.diff(rows) > 0).all()


def make_model():
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='SimSiam',
            backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
            neck=None,
            head=None,
            data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
        )
    ).train()


def make_hook(root, **settings):
    return ProbeHook(
        dataset=dict(
            type='AffWild2Dataset',
            data_root=str(root),
            pipeline=[
                dict(type='LoadFaceCrop'),
                dict(type='Resize', scale=(32, 32)),
                dict(type='PackInputs'),
            ],
        ),
        train_ann_file='annotations/EXPR_Recognition_Challenge/Train_Set',
        val_ann_file='annotations/EXPR_Recognition_Challenge/Validation_Set',
        num_workers=0,
        batch_size=3,
        **settings,
    )


def make_runner(model):
    logged = {}
    visualizer = SimpleNamespace(add_scalars=lambda scores, step: logged.update(scores))
    return SimpleNamespace(model=model, iter=0, visualizer=visualizer), logged


def probe(root):
    model = make_model()
    runner, logged = make_runner(model)
    hook = make_hook(root, k=3, train_frames_per_class=3)
    state = torch.get_rng_state()
    hook.before_train(runner)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training and all(p.grad is None for p in model.parameters())
    return model, hook, logged


def test_probe_classifies_pooled_features(tiny):
    model, hook, logged = probe(tiny)
    model.eval()
    features, labels = [], []
    with torch.no_grad():
        for dataset, rows in hook._frames:
            images = torch.stack([dataset[i]['inputs'] for i in rows]).float()
            features.append(model.backbone((images - 127.5) / 127.5)[0].mean((2, 3)).numpy())
            labels.append(dataset.get_gt_labels()[rows])
    oracle = KNeighborsClassifier(3, metric='cosine', algorithm='brute')
    predicted = oracle.fit(features[0], labels[0]).predict(features[1])
    f1 = f1_score(labels[1], predicted, labels=range(8), average='macro', zero_division=0)
    assert logged['probe/knn_macro_f1'] == pytest.approx(100 * f1)
    predicted = linear_predict(features[0], labels[0], features[1])
    f1 = f1_score(labels[1], predicted, labels=range(8), average='macro', zero_division=0)
    assert logged['probe/linear_macro_f1'] == pytest.approx(100 * f1)
    assert len(logged) == 18
    assert np.bincount(labels[0]).max() == 3 and len(labels[1]) == 10


def check_probe(root, expected):
    assert probe(root)[2] == pytest.approx(expected)


def test_probe_is_the_same_on_one_process_and_two(tiny, run_distributed):
    run_distributed(check_probe, tiny, probe(tiny)[2])


def test_probe_without_labelled_frames(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'default_hooks.probe.interval=0'):
        make_hook(tmp_path / 'gone').before_train(make_runner(make_model())[0])
    hook = make_hook(tmp_path / 'gone', interval=0)
    hook.before_train(make_runner(make_model())[0])  # turned off
    hook.after_train_iter(make_runner(make_model())[0])


# ----------------------------------------------------------------------------------- export


def test_exported_backbone_fills_a_resnet(tmp_path):
    model = make_model()
    model.backbone.bn1.running_mean.fill_(0.5)
    ExportBackboneHook().after_train(SimpleNamespace(model=model, iter=7, work_dir=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ['backbone.pth']
    checkpoint = load_checkpoint_file(tmp_path / 'backbone.pth')
    assert all(key.startswith('backbone.') for key in checkpoint['state_dict'])
    assert all(isinstance(value, str) for value in checkpoint['meta'].values())
    assert checkpoint['meta']['method'] == 'SimSiam' and checkpoint['meta']['iterations'] == '7'
    resnet = MODELS.build(
        dict(
            type='ResNet',
            depth=18,
            stem_channels=8,
            base_channels=8,
            init_cfg=dict(type='SSLPretrained', checkpoint=str(tmp_path / 'backbone.pth')),
        )
    )
    resnet.init_weights()
    for name, tensor in model.backbone.state_dict().items():
        torch.testing.assert_close(resnet.state_dict()[name], tensor)
