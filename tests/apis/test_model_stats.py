"""Parameters and FLOPs against counts by hand and against the paper."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from abaw_mm.apis import model_stats
from abaw_mm.apis.model_stats import find_input_size

REPO = Path(__file__).parents[2]


def load(name, **options):
    cfg = Config.fromfile(str(REPO / f'configs/{name}.py'))
    cfg.merge_from_dict(options)
    return cfg


def srp(channels, first, second):
    """Parameters of the neck and the classifier; a norm has two per channel."""
    return (channels * 256 * first**2 + 512 + 256 * 256 * second**2 + 512) + (2304 * 8 + 8)


def test_parameters_of_the_abstract():
    """ResNet-18 with all stages frozen and 1x1, then 3x3 kernels in the neck has 0.7 M."""
    stats = model_stats(
        load(
            'res18_srp_affwild2',
            **{'model.backbone.frozen_stages': 4, 'model.neck.kernel_sizes': (1, 3)},
        )
    )
    assert stats['trainable'] == srp(512, 1, 3) == 740360
    assert stats['parts']['backbone']['trainable'] == 0
    assert stats['parts']['backbone']['total'] == 11176512  # as torchvision without its classifier


@pytest.mark.parametrize(
    'depth, channels, backbone, last_stage',
    [
        (18, 512, 11176512, 8393728),
        (50, 2048, 23508032, 14964736),
    ],
)
def test_parameters_with_three_frozen_stages(depth, channels, backbone, last_stage):
    stats = model_stats(load(f'res{depth}_srp_affwild2'))
    assert stats['trainable'] == last_stage + srp(channels, 2, 2)
    assert stats['total'] == backbone + srp(channels, 2, 2)


def test_flops_of_a_resnet():
    """Multiplications of each convolution and the classifier; a norm has two per element."""

    def conv(cells, inputs, outputs, kernel):
        return cells**2 * outputs * (inputs * kernel**2 + 2)

    flops = conv(112, 3, 64, 7) + 4 * conv(56, 64, 64, 3)
    for cells, width in ((28, 128), (14, 256), (7, 512)):
        flops += conv(cells, width // 2, width, 3) + 3 * conv(cells, width, width, 3)
        flops += conv(cells, width // 2, width, 1)
    stats = model_stats(load('res18_srp_affwild2'))
    assert stats['shape'] == [224, 224]
    assert stats['parts']['backbone']['flops'] == flops
    assert stats['parts']['neck']['flops'] == conv(6, 512, 256, 2) + conv(3, 256, 256, 2)
    assert stats['parts']['head']['flops'] == 2304 * 8
    assert stats['flops'] == sum(part['flops'] for part in stats['parts'].values())
    frozen = model_stats(load('res18_srp_affwild2', **{'model.backbone.frozen_stages': 4}))
    assert frozen['flops'] == stats['flops']  # frozen stages count


def test_flops_of_a_transformer():
    """Attention counts, which mmengine's own analysis leaves out."""
    model = dict(
        type='ImageClassifier',
        head=dict(type='LinearClsHead', num_classes=8, in_channels=64),
        backbone=dict(
            type='VisionTransformer',
            img_size=32,
            patch_size=16,
            arch=dict(embed_dims=64, num_layers=3, num_heads=4, feedforward_channels=128),
        ),
    )
    tokens, width = 2 * 2 + 1, 64
    layer = (
        4 * tokens * width**2  # query, key, value, projection
        + 2 * tokens**2 * width  # all heads; their widths add up
        + 2 * tokens * width * 128
    )
    norms = 7 * tokens * width * 5  # as mmengine counts a norm with a scale
    flops = 4 * width * 3 * 16**2 + 3 * layer + norms + 8 * width
    assert model_stats(Config(dict(model=model)), (32, 32))['flops'] == flops


def test_flops_of_a_temporal_model():
    """A window of 256 frames with 63 on either side: norm, projection and six layers by hand."""
    stats = model_stats(load('temporal_tcn_affwild2'))
    frames, width, channels = 256 + 2 * 63, 2304, 128
    layer = channels**2 * 3 + channels**2
    norm = 5 * width  # as mmengine counts a norm with a scale
    assert (stats['input'], stats['shape']) == ('window', [frames, width])
    assert stats['parts']['backbone']['flops'] == frames * (norm + width * channels + 6 * layer)
    assert stats['parts']['head']['flops'] == frames * channels * 8
    assert stats['total'] == 2 * width + channels * (width + 1) + 6 * (layer + 2 * channels) + (
        channels * 8 + 8
    )


def test_flops_of_two_streams():
    stats = model_stats(load('gated_av_affwild2'))
    frames, video, audio = stats['shape']
    assert (frames, video, audio) == (256, 2304, 1024)
    assert stats['flops'] > frames * 512 * (video + audio)
    with pytest.raises(ValueError, match=r'--shape: .* 2 streams \(video, audio\)'):
        model_stats(load('gated_av_affwild2'), (100, 2304))


@pytest.mark.parametrize(
    'name',
    [
        'mlp_features_affwild2',
        'transformer_features_affwild2',
        'tcn_transformer_features_affwild2',
        'gated_av_affwild2',
        'cross_attention_av_affwild2',
    ],
)
def test_flops_over_features_equal_those_of_torch(name):
    """torch counts matrix products and convolutions, a MAC as 2; norms are added by hand."""
    cfg = load(name)
    widths = cfg.model.backbone.in_channels
    shape = (16, *(widths.values() if isinstance(widths, dict) else [widths]))
    model = MODELS.build(dict(cfg.model)).train()  # evaluation has fused layers without a count
    norms = []
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_hook(lambda module, args, out: norms.append(5 * out.numel()))
    streams = [torch.zeros(1, shape[0], width) for width in shape[1:]]
    inputs = dict(zip(widths, streams, strict=True)) if isinstance(widths, dict) else streams[0]
    with FlopCounterMode(display=False) as counter:
        model(inputs)
    assert model_stats(cfg, shape)['flops'] == counter.get_total_flops() // 2 + sum(norms)


@pytest.mark.parametrize(
    'name, side',
    [
        ('res18_srp_affwild2', 224),
        ('res18_srp_affwild2_plain', 224),
        ('res18_srp_demo', 112),
        ('res18_byol_faces', 112),
    ],
)
def test_input_size_is_read_from_the_pipeline(name, side):
    assert find_input_size(load(name)) == (side, side)


def test_unknown_input_size_is_an_error():
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=[dict(type='LoadFaceCrop')]))))
    with pytest.raises(ValueError, match='--shape'):
        find_input_size(cfg)
    cfg.test_dataloader.dataset.pipeline.append(dict(type='Resize', scale=(96, 64)))  # (W, H)
    assert find_input_size(cfg) == (64, 96)


def test_image_size_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match='112x112 .* model.head.in_channels .*--shape'):
        model_stats(load('res18_srp_affwild2'), (112, 112))


def test_target_network_is_not_trained():
    stats = model_stats(load('res18_contrawarping_faces'))
    parts = stats['parts']
    assert stats['trainable'] == sum(part['trainable'] for part in parts.values())
    assert stats['total'] > stats['trainable']
    assert stats['flops'] == parts['backbone']['flops']


def test_tool_counts_a_config_with_overrides(tmp_path, run_tool):
    tool, out = 'analysis_tools/model_stats.py', tmp_path / 'stats.json'
    options = ('frozen_stages=4', 'kernel_sizes=(1,1)', 'in_channels=1024')
    parts = ('model.backbone', 'model.neck', 'model.head')
    options = [f'{part}.{option}' for part, option in zip(parts, options, strict=True)]
    flags = ('--shape', 96, '--json', out, '--cfg-options', *options)
    status, text, _ = run_tool(tool, REPO / 'configs/res18_srp_affwild2.py', *flags)
    assert status == 0 and '96x96' in text and '0.206 M' in text
    stats = json.loads(out.read_text())
    assert stats['shape'] == [96, 96]
    assert stats['trainable'] == 512 * 256 + 256 * 256 + 4 * 256 + 1024 * 8 + 8
    assert run_tool(tool, 'x.py', '--shape', 0)[0] == 2
    status, text, _ = run_tool(tool, REPO / 'configs/temporal_tcn_affwild2.py')
    assert status == 0 and 'a window of 382 frames with 2304 features each' in ' '.join(
        text.split()
    )
    status, _, error = run_tool(tool, 'gone.py')
    assert status == 1 and 'gone.py' in error
