"""Test the tracks of the challenge."""

import numpy as np
import pytest

from abaw_mm.errors import InvalidValueError
from abaw_mm.structures.tasks import ACTION_UNIT, EXPRESSION, TASKS, find_task, get_targets


@pytest.mark.parametrize('task', TASKS)
def test_columns_name_the_task(task):
    """The track is found from the columns of its annotations or its predictions."""
    targets = get_targets(task)
    assert find_task([target.column for target in targets]) == task
    assert find_task(['time', *(target.prediction for target in targets)]) == task
    assert find_task([target.ground_truth for target in targets]) == task


@pytest.mark.parametrize('columns', [['time'], ['pred_va', 'pred_au']])
def test_columns_of_no_track_are_refused(columns):
    """Two of three parts are no track, and neither is a table without any."""
    with pytest.raises(InvalidValueError, match='expected those of one track'):
        find_task(columns)


def test_unknown_task_is_refused():
    """The message lists the tracks."""
    with pytest.raises(InvalidValueError, match="'EXPR', expected one of expr, va, au, mtl"):
        get_targets('EXPR')


def test_one_hidden_value_hides_a_frame():
    """A frame counts as annotated only with all of its values."""
    units = np.zeros((3, 12), np.int8)
    units[1, 5] = -1
    assert ACTION_UNIT.is_annotated(units).tolist() == [True, False, True]
    assert EXPRESSION.is_annotated(np.array([0, -1, 7])).tolist() == [True, False, True]
