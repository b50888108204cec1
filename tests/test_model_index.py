"""Test that mmpretrain finds our configs by name and that their index is correct."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import mmpretrain
import pytest
from mmengine.config import Config
from modelindex.load_model_index import load

from abaw_mm import model_index
from abaw_mm.apis import load_config, model_stats
from abaw_mm.errors import MissingFileError

REPO = Path(__file__).parents[1]
CONFIGS = sorted((REPO / 'configs').glob('*.py'))


@pytest.fixture(scope='module')
def models():
    index = load(str(REPO / 'model-index.yml'))
    index.build_models_with_collections()
    return {model.name: model for model in index.models}


def test_index_passes_its_own_check(capsys):
    load(str(REPO / 'model-index.yml')).check(silent=False)
    assert 'All good' in capsys.readouterr().out


def test_every_config_has_entry_with_its_name(models):
    expected = {f'abaw_{path.stem}': f'configs/{path.name}' for path in CONFIGS}
    assert {name: model.config for name, model in models.items()} == expected
    assert mmpretrain.list_models('abaw') == sorted(expected)


def test_entries_claim_no_weights_and_no_scores(models):
    for model in models.values():
        assert model.weights is None and model.in_collection
        assert not any(result.metrics for result in model.results or ())


def test_classifiers_of_images_have_their_task(models):
    """mmpretrain selects the inferencer by the task."""
    with_task = set(mmpretrain.list_models('abaw', task='Image Classification'))
    assert with_task == {
        name
        for name in models
        if not re.search('_faces$|temporal|features|_av_|_(va|au|mtl)$', name)
    }


def test_parameters_and_flops_equal_model_stats(models):
    for name in (
        'abaw_res18_gap_affwild2',
        'abaw_res50_srp_112_affwild2',
        'abaw_res18_byol_faces',
        'abaw_temporal_tcn_affwild2',
    ):
        stats = model_stats(Config.fromfile(str(REPO / models[name].config)))
        data = models[name].metadata.data
        assert (data['Parameters'], data['FLOPs']) == (stats['total'], stats['flops'])


def test_get_model_builds_config_with_overrides():
    model = mmpretrain.get_model('abaw_res18_srp_affwild2', neck=dict(kernel_sizes=(1, 3)))
    assert type(model).__name__ == 'FrameClassifier' and model.neck.kernel_sizes == (1, 3)
    assert model._dataset_meta['classes'][0] == 'Neutral'
    model_index.register_model_index()  # a second call has no effect


INHERITED = """_base_ = ['abaw_mm::res50_srp_affwild2.py']
model = dict(backbone=dict(frozen_stages=1))
"""


def test_config_elsewhere_inherits_by_name(tmp_path):
    path = tmp_path / 'my.py'
    path.write_text(INHERITED)
    inherited = load_config(str(path))
    plain = load_config(str(REPO / 'configs/res50_srp_affwild2.py'))
    assert inherited.model.backbone.frozen_stages == 1
    inherited.model.backbone.frozen_stages = plain.model.backbone.frozen_stages
    for key in ('model', 'train_dataloader', 'optim_wrapper', 'test_evaluator', 'custom_imports'):
        assert inherited[key] == plain[key], key
    # parts, as the configs themselves inherit them
    path.write_text("_base_ = ['abaw_mm::_base_/models/res18_srp.py']")
    assert (
        Config.fromfile(str(path)).model
        == Config.fromfile(str(REPO / 'configs/res18_srp_affwild2.py')).model
    )


def test_unknown_name_of_a_config_is_one_error(tmp_path):
    path = tmp_path / 'my.py'
    path.write_text("_base_ = 'abaw_mm::res50_srp.py'")
    with pytest.raises(MissingFileError, match=r"got 'abaw_mm::res50_srp.py', .* such as apvit_"):
        load_config(str(path))
    path.write_text("_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'")
    assert Config.fromfile(str(path)).model.backbone.depth == 18  # as without us


@pytest.mark.slow
def test_wheel_finds_its_own_configs(tmp_path):
    """Unpack the wheel as pip does, outside the repository."""
    subprocess.run(
        [
            sys.executable,
            '-c',
            (
                'from setuptools.build_meta import build_wheel; '
                f'print(build_wheel({str(tmp_path)!r}))'
            ),
        ],
        cwd=REPO,
        check=True,
        stdout=subprocess.PIPE,
    )
    site = tmp_path / 'site'
    with zipfile.ZipFile(next(tmp_path.glob('*.whl'))) as wheel:
        wheel.extractall(site)
    for path in (*(REPO / 'configs').rglob('*.py'), REPO / 'configs/metafile.yml'):
        assert (site / 'abaw_mm/.mim' / path.relative_to(REPO)).is_file()
    assert not (REPO / 'abaw_mm/.mim').exists()  # building leaves the source unchanged
    (tmp_path / 'my.py').write_text(INHERITED)
    code = (
        'import abaw_mm, mmengine, mmpretrain, sys; '
        'names = mmpretrain.list_models("abaw"); '
        'config = mmpretrain.apis.model.ModelHub.get(names[0]).config; '
        'inherited = mmengine.Config.fromfile("my.py"); '
        'print(abaw_mm.__file__, len(names), names[0], config.filename, '
        'inherited.model.backbone.depth, inherited.model.backbone.frozen_stages)'
    )
    out = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        check=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(site)),
        stdout=subprocess.PIPE,
    ).stdout.split()
    assert out[0] == str(site / 'abaw_mm/__init__.py') and int(out[1]) == len(CONFIGS)
    assert out[4:] == ['50', '1']
    assert Path(out[3]) == site / f'abaw_mm/.mim/configs/{out[2].removeprefix("abaw_")}.py'
