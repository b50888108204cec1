"""Different numbers of classes are refused before the first step."""

import pytest

from abaw_mm.apis import load_config
from abaw_mm.apis.build_runner import build_runner
from abaw_mm.errors import InvalidValueError


def build(repo, tiny, tmp_path, name='res18_srp_demo', **options):
    cfg = load_config(str(repo / f'configs/{name}.py'), work_dir=str(tmp_path))
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[key].dataset.data_root = str(tiny)
        cfg[key].update(num_workers=0, persistent_workers=False)
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    return build_runner(cfg)


@pytest.mark.parametrize('name', ['res18_srp_demo', 'res18_srp_affwild2_plain'])
@pytest.mark.parametrize(
    ('options', 'values'),
    [
        (dict(model__head__num_classes=7), '7 8 8 8'),
        (dict(model__head__num_classes=9), '9 8 8 8'),
        (dict(val_evaluator__num_classes=7), '8 8 8 7'),
        (dict(train_dataloader__dataset__classes=['a', 'b']), '8 2 8 8'),
    ],
)
def test_different_numbers_of_classes_are_one_message(repo, tiny, tmp_path, name, options, values):
    keys = (
        'model.head.num_classes',
        'len(train_dataloader.dataset.classes)',
        'len(val_dataloader.dataset.classes)',
        'val_evaluator.num_classes',
    )
    with pytest.raises(InvalidValueError) as exc_info:
        build(repo, tiny, tmp_path, name, **options)
    pairs = ', '.join(f'{k}={v}' for k, v in zip(keys, values.split(), strict=True))
    assert f'got {pairs}, expected the same number' in str(exc_info.value)


def test_wrong_number_of_class_weights_is_an_error(repo, tiny, tmp_path):
    build(repo, tiny, tmp_path, model__head__loss__class_weight=[1.0] * 8)
    with pytest.raises(InvalidValueError, match=r'loss\.class_weight\)=7'):
        build(repo, tiny, tmp_path, model__head__loss__class_weight=[1.0] * 7)


def test_test_set_is_checked_in_a_test(repo, tiny, tmp_path):
    options = dict(train_dataloader=None, train_cfg=None, optim_wrapper=None)
    options |= dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
    with pytest.raises(InvalidValueError, match=r'test_evaluator\.num_classes=9'):
        build(repo, tiny, tmp_path, param_scheduler=None, test_evaluator__num_classes=9, **options)


def test_other_numbers_of_classes_are_accepted_if_they_agree(repo, tiny, tmp_path):
    classes = ['a', 'b', 'c']
    runner = build(
        repo,
        tiny,
        tmp_path,
        model__head__num_classes=3,
        train_dataloader__dataset__classes=classes,
        val_dataloader__dataset__classes=classes,
        val_evaluator__num_classes=3,
    )
    assert runner.model.head.num_classes == 3
