"""Test that registered classes check the type and range of every argument."""

import inspect
import math

import numpy as np
import pytest
from mmengine.config import ConfigDict
from mmpretrain.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    TRANSFORMS,
    WEIGHT_INITIALIZERS,
)

import abaw_mm  # noqa: F401  registers the classes
from abaw_mm.checks import _collect_hints, _has_type, at_least, check_arguments
from abaw_mm.errors import InvalidTypeError, InvalidValueError, UserError

NAN, INF = math.nan, math.inf
REGISTRIES = (
    DATASETS,
    DATA_SAMPLERS,
    HOOKS,
    METRICS,
    MODELS,
    TRANSFORMS,
    WEIGHT_INITIALIZERS,
)
CLASSES = {
    cls.__name__: cls
    for registry in REGISTRIES
    for cls in registry.module_dict.values()
    if inspect.isclass(cls) and cls.__module__.startswith('abaw_mm.')
}
NORM = dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
# Arguments with which a class can be built, if it needs any. Datasets are only tested for refusals.
REQUIRED = {
    'AffWild2Dataset': dict(ann_file='missing', lazy_init=True),
    'AllCropsDataset': dict(ann_file='', data_root='missing', lazy_init=True),
    'ClipFeatureDataset': dict(feature_dir='missing', ann_file='missing'),
    'ActionUnitHead': dict(in_channels=4),
    'ConcatFusion': dict(in_channels=dict(a=4, b=4), channels=4),
    'ContraWarping': dict(backbone={}, neck={}, head={}),
    'CrossAttentionFusion': dict(in_channels=dict(a=4, b=4), channels=8),
    'DumpPredictions': dict(out_file_path='scores.npz'),
    'FaceFolderDataset': dict(data_root='missing', lazy_init=True),
    'FrameClassifier': dict(backbone=dict(type='TemporalConvNet', in_channels=4, channels=4)),
    'FaceViewDataPreprocessor': NORM,
    'FrameDataPreprocessor': NORM,
    'FrameMLP': dict(in_channels=4, channels=4),
    'FrameStrideSampler': dict(dataset=[]),
    'GatedFusion': dict(in_channels=dict(a=4, b=4), channels=4),
    'ProbeHook': dict(dataset={}, train_ann_file='a', val_ann_file='b'),
    'MultiTrackHead': dict(in_channels=4),
    'OnnxClassifier': dict(path='missing.onnx'),
    'SpatialReservePooling': dict(in_channels=4, hidden_channels=4),
    'SSLPretrained': dict(checkpoint='missing.pth'),
    'TemporalClassifier': dict(backbone=dict(type='TemporalConvNet', in_channels=4, channels=4)),
    'TemporalConvNet': dict(in_channels=4, channels=4),
    'ValenceArousalHead': dict(in_channels=4),
    'WindowTransformer': dict(in_channels=4, channels=8),
}
WRONG = (
    None,
    True,
    -1,
    0,
    7,
    2**40,
    10**30,
    -0.5,
    1.5,
    NAN,
    INF,
    -INF,
    '',
    'abc',
    b'abc',
    [],
    [-1],
    ['a', 'b'],
    (2, 3),
    (0.5, 0.1),
    {},
    {'type': 'Missing'},
    set(),
    object(),
    1j,
    np.float64('nan'),
)


def list_arguments():
    for name, cls in sorted(CLASSES.items()):
        for argument in _collect_hints(cls):
            if argument not in ('self', 'args', 'init_cfg', 'indices'):
                yield pytest.param(cls, argument, id=f'{name}-{argument}')


@pytest.mark.parametrize(('cls', 'argument'), list(list_arguments()))
def test_wrong_value_is_refused_with_a_message_that_names_the_argument(cls, argument, tmp_path):
    hint = _collect_hints(cls)[argument]
    for value in WRONG:
        if _has_type(value, hint):
            continue
        with pytest.raises(UserError, match=rf'\b{argument}\b') as error:
            cls(**{**REQUIRED.get(cls.__name__, {}), argument: value})
        assert len(str(error.value)) < 400


@pytest.mark.parametrize('name', sorted(CLASSES))
def test_unknown_argument_is_refused(name):
    cls = CLASSES[name]
    error = InvalidTypeError if _collect_hints(cls) else TypeError  # Python's, without arguments
    with pytest.raises(error, match='argument'):
        cls(**REQUIRED.get(name, {}), colour=1)


@pytest.mark.parametrize(
    ('name', 'argument', 'value', 'expected'),
    [
        ('FrameDataPreprocessor', 'std', (1.0, 0.0, 1.0), 'each above 0'),
        ('FrameDataPreprocessor', 'std', (1.0, NAN, 1.0), 'Sequence[float]'),
        ('FrameDataPreprocessor', 'std', (1.0, 1.0), 'one number per channel'),
        ('FrameDataPreprocessor', 'flip_prob', 7, '0 to 1'),
        ('FrameDataPreprocessor', 'crop_ratio_range', (2, 3), 'each above 0 and at most 1'),
        ('FrameDataPreprocessor', 'crop_ratio_range', (0.9, 0.5), '(lowest, highest)'),
        ('FrameDataPreprocessor', 'crop_size', 224.0, 'int'),
        ('FrameDataPreprocessor', 'crop_size', 10**9, '1 to 4096'),
        ('FrameStrideSampler', 'stride', True, 'int'),
        ('FrameStrideSampler', 'stride', 0, '1 to'),
        ('FrameStrideSampler', 'shuffle', 'no', 'bool'),
        ('MacroF1', 'num_classes', 0, '1 to 10000'),
        ('TemporalConvNet', 'dropout', 1.0, 'at least 0 and below 1'),
        ('TemporalConvNet', 'num_layers', 40, '1 to 24'),
        ('RandomLocalWarp', 'ellipse', (0.5, 0.5, 0.5), 'tuple[float, float] or None'),
        ('ProbeHook', 'k', 0, 'at least 1'),
        ('ClipFeatureDataset', 'start_index', -1, 'at least 0'),
        ('FaceFolderDataset', 'unreadable', 'skip', "'stop' or 'nearest'"),
    ],
)
def test_value_out_of_range_is_refused(name, argument, value, expected):
    with pytest.raises(UserError) as error:
        CLASSES[name](
            **{**REQUIRED[name], argument: value} if name in REQUIRED else {argument: value}
        )
    assert f'{name}: got' in str(error.value) and argument in str(error.value)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ('hint', 'value', 'expected'),
    [
        (int, np.int64(3), True),
        (int, 3.0, False),
        (float, 3, True),
        (float, NAN, False),
        (bool, np.bool_(True), True),
        (bool, 1, False),
        (dict, ConfigDict(a=1), True),
        (int | None, None, True),
        (tuple[float, float], [1, 2], True),
        (tuple[float, float], [1], False),
    ],
)
def test_type_of_an_annotation(hint, value, expected):
    assert _has_type(value, hint) is expected


def test_arguments_of_the_base_class_are_known():
    class Base:
        def __init__(self, size: int = 1):
            self.size = size

    class Child(Base):
        @check_arguments('model', size=at_least(1))
        def __init__(self, **kwargs):
            super().__init__(**kwargs)

    assert Child(size=3).size == 3
    with pytest.raises(InvalidTypeError, match='did you mean size'):
        Child(siz=3)
    with pytest.raises(InvalidValueError, match='got size=0'):
        Child(size=0)


@pytest.mark.parametrize(
    'name',
    [
        'CollapseHook',
        'ConcatFusion',
        'ContraWarpingLoss',
        'FrameDataPreprocessor',
        'FrameMLP',
        'FrameStrideSampler',
        'GatedFusion',
        'MacroF1',
        'ProbeHook',
        'RandomLocalWarp',
        'RandomMuscleWarp',
        'SpatialReservePooling',
        'TemporalConvNet',
        'WindowDataPreprocessor',
    ],
)
def test_any_value_is_used_or_refused_with_a_user_error(name):
    cls = CLASSES[name]
    for argument, hint in _collect_hints(cls).items():
        if argument.endswith('_cfg'):  # checked by mmengine's registry
            continue
        for value in WRONG:
            if _has_type(value, hint):
                try:
                    cls(**{**REQUIRED.get(name, {}), argument: value})
                except UserError:
                    pass
