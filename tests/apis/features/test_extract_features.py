"""Features from images, and a temporal model from features to the submission."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import HEADER, write_clip
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS

from abaw_mm import apis
from abaw_mm.apis import extract_features
from abaw_mm.datasets import (
    EXPRESSIONS,
    AffWild2Dataset,
    FeatureFolder,
)
from abaw_mm.evaluation import Predictions

REPO = Path(__file__).parents[3]
CONFIG = str(REPO / 'configs/res18_srp_demo.py')  # 112 pixels, three stages
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
VAL = 'annotations/EXPR_Recognition_Challenge/Validation_Set'


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Data, two checkpoints of random weights, and the features of both layers."""
    folder = tmp_path_factory.mktemp('features')
    root = folder / 'affwild2'
    write_clip(root, 'Train_Set', 'b_left', [0, 1, -1, 2, 3, -1, 5], missing=(2,))
    write_clip(root, 'Train_Set', 'a', [7, 4, 4, 4])
    write_clip(root, 'Validation_Set', 'c', [-1, 1, 2, 6, 6], missing=(4,))
    rows = [f'c/{number:05d}.jpg,' for number in range(1, 6)]
    (root / 'list.txt').write_text('\n'.join([f'image_location,{HEADER}', *rows]))
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'a.pth')
    model.head.fc.bias.data += 1
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'b.pth')
    for layer in ('backbone', 'neck'):
        extract(folder, layer, layer=layer)
    return folder


def extract(folder, out, checkpoint='a.pth', **options):
    """Extract the features of the data into ``out``."""
    cfg_options = {f'{name}.dataset.data_root': str(folder / 'affwild2') for name in LOADERS}
    cfg_options.update({f'{name}.num_workers': 0 for name in LOADERS})
    return extract_features(
        CONFIG,
        str(folder / checkpoint),
        str(folder / out),
        batch_size=2,
        work_dir=str(folder / 'log'),
        cfg_options=cfg_options,
        **options,
    )


def test_features_equal_those_of_single_images(made):
    """The reference passes image by image through plain mmpretrain."""
    cfg = Config.fromfile(REPO / 'benchmarks/configs/res18_srp_demo_plain.py')
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor)).eval()
    model.load_state_dict(torch.load(made / 'a.pth', weights_only=True)['state_dict'])
    dataset = DATASETS.build(
        dict(cfg.test_dataloader.dataset, data_root=str(made / 'affwild2'), ann_file='list.txt')
    )
    for layer, dim in (('backbone', 256), ('neck', 2304)):
        folder = FeatureFolder.open(made / layer)
        assert folder.index.clips == ['a', 'b_left', 'c']
        assert folder.frame_numbers('b_left').tolist() == [1, 3, 4, 5, 6, 7]  # with a crop
        meta = json.loads((made / layer / 'meta.json').read_text())
        assert (meta['config'], meta['layer'], meta['dim'], meta['data_root']) == (
            'res18_srp_demo',
            layer,
            dim,
            str((made / 'affwild2').resolve()),
        )
        features = folder.read('c')
        assert features.shape == (4, dim)
        for row, number in enumerate((1, 2, 3, 5)):
            item = dataset[row]
            assert item['data_samples'].frame_no == number
            batch = dict(inputs=[item['inputs']], data_samples=[item['data_samples']])
            with torch.no_grad():
                out = model.extract_feat(model.data_preprocessor(batch)['inputs'], layer)[-1]
            expected = (out.mean((2, 3)) if layer == 'backbone' else out)[0]
            np.testing.assert_allclose(features[row], expected, rtol=2e-3, atol=1e-4)


def test_interrupted_run_continues_to_the_same_files(made, monkeypatch):
    write, written = FeatureFolder.write, []

    def interrupt(self, clip, features):
        if written:
            raise KeyboardInterrupt
        written.append(clip)
        write(self, clip, features)

    monkeypatch.setattr(FeatureFolder, 'write', interrupt)
    with pytest.raises(KeyboardInterrupt):
        extract(made, 'again')
    monkeypatch.setattr(FeatureFolder, 'write', write)
    first = made / 'again/clips/a.npy'
    before = first.stat().st_mtime_ns
    assert written == ['a'] and [path.name for path in first.parent.iterdir()] == ['a.npy']
    extract(made, 'again')
    assert first.stat().st_mtime_ns == before
    for path in (made / 'backbone').rglob('*.*'):
        assert (made / 'again' / path.relative_to(made / 'backbone')).read_bytes() == (
            path.read_bytes()
        )


def test_folder_of_another_checkpoint_or_layer_is_rejected(made):
    with pytest.raises(ValueError, match="--out .*: sha256: the folder has '.*', this run '"):
        extract(made, 'backbone', 'b.pth')
    with pytest.raises(ValueError, match="layer: the folder has 'backbone', this run 'neck'"):
        extract(made, 'backbone', layer='neck')


def test_wrong_arguments_leave_no_folder(made, tmp_path):
    gap = Config.fromfile(REPO / 'configs/res18_gap_affwild2.py').model
    state = MODELS.build(gap).state_dict()
    torch.save(dict(state_dict=state), made / 'gap.pth')
    with pytest.raises(ValueError, match='does not fit the model: .*neck.conv1.conv.weight'):
        extract(made, 'new', 'gap.pth', layer='neck')
    torch.save({'bias': torch.zeros(1)}, made / 'other.pth')
    with pytest.raises(ValueError, match='got 0 of the'):
        extract(made, 'new', 'other.pth')
    with pytest.raises(FileNotFoundError, match="CHECKPOINT='.*gone.pth': no such file"):
        extract(made, 'new', 'gone.pth')
    with pytest.raises(ValueError, match='--batch-size: got 0'):
        extract_features(CONFIG, 'a.pth', 'new', batch_size=0)
    faces = str(REPO / 'configs/res18_byol_faces.py')
    with pytest.raises(ValueError, match='byol_faces.py: got a config without test_dataloader'):
        extract_features(faces, str(made / 'a.pth'), 'new', work_dir=str(tmp_path))
    assert not (made / 'new').exists()


def test_classes_of_the_checkpoint_are_compared(made):
    checkpoint = torch.load(made / 'a.pth', weights_only=True)
    checkpoint['meta']['dataset_meta'] = dict(classes=sorted(EXPRESSIONS))
    torch.save(checkpoint, made / 'alphabetical.pth')
    with pytest.raises(ValueError, match='alphabetical.pth: .* same classes in another order'):
        extract(made, 'alphabetical', 'alphabetical.pth', layer='neck', split=['val'])
    extract(made, 'alphabetical', 'alphabetical.pth', split=['val'])  # the head is not loaded


def test_self_supervised_backbone_is_accepted(made):
    """Its checkpoint has no head or neck."""
    state = torch.load(made / 'a.pth', weights_only=True)['state_dict']
    state = {
        key.replace('backbone.', 'module.encoder_q.'): value
        for key, value in state.items()
        if key.startswith('backbone.')
    }
    torch.save(dict(state_dict=state), made / 'moco.pth')
    folder = extract(made, 'moco', 'moco.pth', split=['val'])
    assert folder.index.clips == ['c']
    np.testing.assert_array_equal(folder.read('c'), FeatureFolder.open(made / 'backbone').read('c'))


@pytest.fixture(scope='module')
def temporal(made):
    """The temporal config, trained for two steps on features of the neck."""
    options = {
        'train_cfg.max_iters': 2,
        'train_cfg.val_interval': 2,
        'default_hooks.checkpoint.interval': 2,
    }
    config = REPO / 'configs/temporal_tcn_affwild2.py'
    for name in LOADERS:
        options.update(
            {
                f'{name}.dataset.data_root': str(made / 'affwild2'),
                f'{name}.num_workers': 0,
                f'{name}.batch_size': 2,
                f'{name}.dataset.feature_dir': str(made / 'neck'),
            }
        )
    apis.train(str(config), str(made / 'run'), cfg_options=options)
    return config, made / 'run/iter_2.pth', options


def test_temporal_model_scores_and_submits(made, temporal):
    config, checkpoint, options = temporal
    out = made / 'val.npz'
    figures = apis.test(
        str(config), str(checkpoint), str(made / 'test'), out=str(out), cfg_options=options
    )
    assert set(figures) >= {'affwild2/macro_f1', 'affwild2/f1_Other'}
    predictions = Predictions.read(out)
    frames = AffWild2Dataset(VAL, str(made / 'affwild2'), index_cache=None).frames
    np.testing.assert_array_equal(predictions.frame_no, frames.frame_no)
    np.testing.assert_array_equal(predictions['gt_label'], frames['label'])
    options = {**options, 'test_dataloader.dataset.ann_file': 'list.txt'}
    out = made / 'list.npz'
    apis.test(str(config), str(checkpoint), str(made / 'test'), out=str(out), cfg_options=options)
    assert Predictions.read(out).frame_no.tolist() == [1, 2, 3, 5]
    smooth, answer = made / 'smooth.npz', made / 'predictions.txt'
    for tool, *flags in (
        ['analysis_tools/postprocess_predictions.py', out, '--out', smooth, '--width', 2],
        ['make_submission.py', smooth, '--frames', made / 'affwild2/list.txt', '--out', answer],
    ):
        assert runpy.run_path(str(REPO / 'tools' / tool))['main']([*map(str, flags)]) == 0
    assert len(answer.read_text().splitlines()) == 6


def test_temporal_model_needs_the_features_it_was_trained_on(made, temporal):
    config, checkpoint, options = temporal

    def score(out, **more):
        own = {'test_dataloader.dataset.feature_dir': str(made / out), **more}
        return apis.test(
            str(config), str(checkpoint), str(made / 'test'), cfg_options={**options, **own}
        )

    extract(made, 'of b', 'b.pth', layer='neck', split=['val'])
    with pytest.raises(ValueError, match="sha256: the checkpoint was trained on '.*test_dataload"):
        score('of b')
    with pytest.raises(ValueError, match='got 256 features per frame.*expected 2304'):
        score('backbone')
    with pytest.raises(ValueError, match='does not fit the model: .*backbone.norm.weight'):
        score('backbone', **{'model.backbone.in_channels': 256})
    with pytest.raises(ValueError, match='--tta, .* model over features'):
        apis.test(str(config), str(checkpoint), str(made / 'test'), tta=True)
    own = {**options, 'val_dataloader.dataset.feature_dir': str(made / 'of b')}
    with pytest.raises(ValueError, match="sha256: train_dataloader has '.*set val_dataloader"):
        apis.train(str(config), str(made / 'other'), cfg_options=own)


@pytest.mark.slow
def test_two_processes_write_the_same_files(made):
    options = [f'{name}.dataset.data_root={made / "affwild2"}' for name in LOADERS]
    subprocess.run(
        [
            sys.executable,
            str(REPO / 'tools/launch.py'),
            '--standalone',
            '--nproc_per_node=2',
            str(REPO / 'tools/extract_features.py'),
            CONFIG,
            str(made / 'a.pth'),
            '--out',
            str(made / 'two'),
            '--batch-size',
            '2',
            '--work-dir',
            str(made / 'log'),
            '--launcher',
            'pytorch',
            '--cfg-options',
            *options,
        ],
        check=True,
        timeout=300,
    )
    for path in (made / 'backbone').rglob('*.*'):
        assert (made / 'two' / path.relative_to(made / 'backbone')).read_bytes() == (
            path.read_bytes()
        )
