"""Classes of a checkpoint are compared with the data's; a permutation can be undone."""

import pytest
import torch

from abaw_mm.checkpoints.checks.classes import get_classes, match_classes
from abaw_mm.datasets import EXPRESSIONS

ALPHABETICAL = tuple(sorted(EXPRESSIONS))
OTHER = ('Neutral', 'Happy', 'Sad', 'Surprise', 'Fear', 'Disgust', 'Anger', 'Contempt')


def make(classes, key='dataset_meta', prefix=''):
    """Make a checkpoint whose head has the row 100 * c for class c of Aff-Wild2."""
    values = [100.0 * EXPRESSIONS.index(name) if name in EXPRESSIONS else -1.0 for name in classes]
    rows = torch.tensor(values)
    state = {
        f'{prefix}backbone.w': torch.arange(8.0),
        f'{prefix}head.fc.weight': rows[:, None].expand(-1, 3).clone(),
        f'{prefix}head.fc.bias': rows,
    }
    meta = (
        dict(dataset_meta=dict(classes=classes)) if key == 'dataset_meta' else dict(CLASSES=classes)
    )
    return dict(state_dict=state, meta=meta)


@pytest.mark.parametrize('key', ['dataset_meta', 'CLASSES'])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_permuted_rows_are_put_into_the_order_of_the_data(key, prefix):
    checkpoint = make([name.lower() for name in ALPHABETICAL], key, prefix)
    checkpoint['state_dict'] = make(ALPHABETICAL, key, prefix)['state_dict']
    text = match_classes(checkpoint, EXPRESSIONS, 'a.pth', reorder=True)
    assert f'the rows of {prefix}head.fc.weight, {prefix}head.fc.bias are put' in text
    for name, value in make(EXPRESSIONS, prefix=prefix)['state_dict'].items():
        assert torch.equal(checkpoint['state_dict'][name], value)


def test_permutation_is_refused_with_the_option_that_undoes_it():
    match = r'a\.pth: .*same classes in another order.*set .*reorder_classes=True'
    for finetuning in (True, False):
        with pytest.raises(ValueError, match=match):
            match_classes(make(ALPHABETICAL), EXPRESSIONS, 'a.pth', finetuning=finetuning)
    with pytest.raises(ValueError, match='start a new training from it with load_from, and set'):
        match_classes(make(ALPHABETICAL), EXPRESSIONS, 'a.pth', reorder=True, resuming=True)


def test_other_classes_are_refused_except_as_the_start_of_a_training():
    for options in (dict(), dict(reorder=True), dict(resuming=True)):
        with pytest.raises(ValueError, match='got a head for the classes Neutral, Happy, .*expect'):
            match_classes(make(OTHER), EXPRESSIONS, 'a.pth', **options)
    checkpoint = make(OTHER)
    text = match_classes(checkpoint, EXPRESSIONS, 'a.pth', finetuning=True)
    assert 'head.fc.weight, head.fc.bias keep their initial values' in text
    assert list(checkpoint['state_dict']) == ['backbone.w']


def test_equal_or_unknown_classes_change_nothing():
    for meta in (
        dict(dataset_meta=dict(classes=list(EXPRESSIONS))),
        dict(CLASSES=[name.upper() for name in EXPRESSIONS]),
        dict(dataset_meta=dict(classes=[1, 2])),
        dict(dataset_meta=[]),
        {},
        5,
    ):
        checkpoint = dict(make(EXPRESSIONS), meta=meta)
        assert match_classes(checkpoint, EXPRESSIONS, 'a.pth') is None
        assert len(checkpoint['state_dict']) == 3
    assert match_classes(make(ALPHABETICAL), None, 'a.pth') is None
    assert get_classes({}) is None


def test_head_of_two_layers_is_not_reordered():
    checkpoint = make(ALPHABETICAL)
    checkpoint['state_dict']['head.hidden.weight'] = torch.ones(8, 8)
    with pytest.raises(ValueError, match='expected those of one layer'):
        match_classes(checkpoint, EXPRESSIONS, 'a.pth', reorder=True)
