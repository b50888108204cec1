"""The probe classifies frozen features, with the same result on one process and two."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

from abaw_mm.engine.hooks import ProbeHook
from abaw_mm.engine.hooks.probe_hook import choose_rows
from abaw_mm.evaluation.probes import linear_predict


def test_rows_are_spread_over_each_class():
    labels = np.array([0] * 100 + [3] * 4 + [0] * 100)
    rows = choose_rows(labels, 5)
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
    knn = KNeighborsClassifier(3, metric='cosine', algorithm='brute').fit(features[0], labels[0])
    for kind, predicted in dict(
        knn=knn.predict(features[1]),
        linear=linear_predict(features[0], labels[0], features[1]),
    ).items():
        f1 = f1_score(labels[1], predicted, labels=range(8), average='macro', zero_division=0)
        assert logged[f'probe/{kind}_macro_f1'] == pytest.approx(100 * f1)
    assert len(logged) == 18
    assert np.bincount(labels[0]).max() == 3 and len(labels[1]) == 10


def check_probe(root, expected):
    assert probe(root)[2] == pytest.approx(expected)


@pytest.mark.slow
def test_probe_is_the_same_on_one_process_and_two(tiny, run_distributed):
    run_distributed(check_probe, tiny, probe(tiny)[2])


def test_missing_labelled_frames_are_an_error_unless_disabled(tmp_path):
    runner, _ = make_runner(make_model())
    with pytest.raises(FileNotFoundError, match=r'default_hooks.probe.interval=0'):
        make_hook(tmp_path / 'gone').before_train(runner)
    hook = make_hook(tmp_path / 'gone', interval=0)
    hook.before_train(runner)  # disabled
    hook.after_train_iter(runner)
