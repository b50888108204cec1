import pytest
from small_onnx import write_onnx

from abaw_mm.models.encoders import build_encoder


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(name='resnet18'), "--encoder: got 'resnet18', expected timm:NAME"),
        (dict(name='keras:x'), '--encoder: got'),
        (dict(name='timm:'), '--encoder: got'),
        (dict(name='timm:resnet18'), '--weights: got None with --encoder timm:resnet18'),
        (dict(name='onnx:a', weights='b'), "--weights: got 'b' with --encoder onnx:a"),
        (dict(name='timm:a', weights='b', output='c'), "--output: got 'c' with --encoder timm:a"),
        (dict(name='timm:a', weights='b', size=0), '--size: got 0'),
    ],
)
def test_wrong_arguments_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        build_encoder(**options)


def test_normalisation_can_be_given(tmp_path):
    write_onnx(tmp_path / 'a.onnx')
    encoder = build_encoder(f'onnx:{tmp_path / "a.onnx"}', mean=[0.5] * 3, output='penultimate')
    assert encoder.inputs.mean == [0.5] * 3
    assert encoder.inputs.std == (0.229, 0.224, 0.225)
    assert encoder.layer == 'features'
