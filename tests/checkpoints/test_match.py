"""A backbone is matched in the layout of each framework, made by renaming a ResNet-18."""

import json

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.checkpoints.layouts import (
    MOMENTUM_MARKERS,
    count_momentum_markers,
)
from abaw_mm.checkpoints.match import (
    compare_tensors,
    flatten_checkpoint,
    match_backbone,
    require_complete,
)
from abaw_mm.models import (
    APViT,
    IResNet,
)


def filled(state_dict, seed):
    """Fill a state dict with values that differ between tensors and between seeds."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(value.shape, generator=generator)
        if value.is_floating_point()
        else torch.full_like(value, seed)
        for name, value in state_dict.items()
    }


@pytest.fixture(scope='module')
def resnet18():
    return MODELS.build(dict(type='ResNet', depth=18)).state_dict()


@pytest.fixture(scope='module')
def a(resnet18):
    return filled(resnet18, 1)


@pytest.fixture(scope='module')
def b(resnet18):
    return filled(resnet18, 2)


def under(prefix, weights, **rest):
    """Put a prefix before the names, and add other tensors."""
    return {**{f'{prefix}{name}': value for name, value in weights.items()}, **rest}


def numbered(weights):
    """Rename to nn.Sequential(*list(torchvision.models.resnet18().children())[:-1])."""
    children = ['conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4']
    return {
        '.'.join([str(children.index(name.split('.')[0])), *name.split('.')[1:]]): value
        for name, value in weights.items()
    }


ONE = torch.ones(1)


def keys(*names):
    return {name: ONE for name in names}


# Name: the checkpoint, given weights `a` of the encoder to use and `b` of another one; the layout.
CASES = {
    'torchvision': (lambda a, b: {**a, **keys('fc.weight', 'fc.bias')}, 'torchvision or timm'),
    'timm': (
        lambda a, b: dict(
            epoch=3,
            arch='resnet18',
            state_dict={**a, **keys('fc.weight')},
            state_dict_ema={**b, **keys('fc.weight')},
        ),
        'torchvision or timm',
    ),
    'torchvision with an average': (
        lambda a, b: dict(model=a, model_ema=under('module.', b, n_averaged=ONE)),
        'torchvision or timm',
    ),
    'DDP': (lambda a, b: dict(state_dict=under('module.', a)), 'torchvision or timm'),
    'compiled': (lambda a, b: under('_orig_mod.', a), 'torchvision or timm'),
    'DDP of compiled': (lambda a, b: under('module._orig_mod.', a), 'torchvision or timm'),
    'compiled of DDP': (lambda a, b: under('_orig_mod.module.model.', a), 'torchvision or timm'),
    'nested state dicts': (
        lambda a, b: dict(state_dict=dict(model=under('module.', a), step=3)),
        'torchvision or timm',
    ),
    'teacher alone': (lambda a, b: dict(teacher=a), 'DINO'),
    'mmpretrain': (
        lambda a, b: dict(
            state_dict=under('backbone.', a, **keys('neck.fc0.weight', 'head.predictor.weight')),
            meta=dict(epoch=50),
        ),
        'mmpretrain or mmselfsup',
    ),
    'mmpretrain BYOL': (
        lambda a, b: dict(
            state_dict={
                **under('target_net.module.0.', b),
                **under('backbone.', a),
                **keys('target_net.steps', 'target_net.module.1.fc0.weight', 'neck.fc0.weight'),
            }
        ),
        'BYOL of mmpretrain',
    ),
    'mmpretrain MoCo': (
        lambda a, b: dict(
            state_dict={
                **under('encoder_k.module.0.', b),
                **under('backbone.', a),
                **keys('queue', 'queue_ptr', 'encoder_k.steps'),
            }
        ),
        'MoCo of mmpretrain',
    ),
    'mmpretrain MoCo v3': (
        lambda a, b: dict(
            state_dict={
                **under('momentum_encoder.module.0.', b),
                **under('backbone.', a),
                **keys('neck.fc0.weight', 'head.predictor.fc0.weight'),
            }
        ),
        'MoCo v3 of mmpretrain',
    ),
    'mmselfsup BYOL': (
        lambda a, b: dict(
            state_dict={**under('target_net.0.', b), **under('online_net.0.', a), **keys('head.x')}
        ),
        'ContraWarping or BYOL',
    ),
    'OpenSelfSup BYOL, online encoder twice': (
        lambda a, b: dict(
            state_dict={
                **under('target_net.0.', b),
                **under('online_net.0.', a),
                **under('backbone.', a),
            }
        ),
        'ContraWarping or BYOL',
    ),
    'ContraWarping': (
        lambda a, b: dict(state_dict={**under('target_net.', b), **under('online_net.', a)}),
        'ContraWarping or BYOL',
    ),
    'ContraWarping, backbone in the nets': (
        lambda a, b: dict(
            state_dict={**under('target_net.backbone.', b), **under('online_net.backbone.', a)}
        ),
        'ContraWarping or BYOL',
    ),
    'mmselfsup MoCo': (
        lambda a, b: dict(
            state_dict={**under('encoder_k.0.', b), **under('encoder_q.0.', a), **keys('queue')}
        ),
        'MoCo of mmselfsup',
    ),
    "mmengine's EMAHook": (
        lambda a, b: dict(
            ema_state_dict=under('module.backbone.', b, steps=ONE), state_dict=under('backbone.', a)
        ),
        'mmpretrain or mmselfsup',
    ),
    'MoCo v2': (
        lambda a, b: dict(
            epoch=200,
            state_dict={
                **under('module.encoder_k.', b),
                **under('module.encoder_q.', a),
                **keys('module.queue', 'module.queue_ptr', 'module.encoder_q.fc.0.weight'),
            },
        ),
        'MoCo v1, v2',
    ),
    'MoCo v3': (
        lambda a, b: dict(
            state_dict={
                **under('module.momentum_encoder.', b),
                **under('module.base_encoder.', a),
                **keys('module.predictor.0.weight', 'module.base_encoder.fc.0.weight'),
            }
        ),
        'MoCo v3',
    ),
    'SimSiam': (
        lambda a, b: dict(
            state_dict=under(
                'module.encoder.',
                a,
                **keys(
                    'module.encoder.fc.0.weight',
                    'module.encoder.fc.6.bias',
                    'module.predictor.0.weight',
                ),
            )
        ),
        'SimSiam',
    ),
    'DINO': (
        lambda a, b: dict(
            student=under('module.backbone.', b, **keys('module.head.mlp.0.weight')),
            teacher=under('backbone.', a, **keys('head.mlp.0.weight')),
            dino_loss=dict(center=ONE),
            epoch=3,
        ),
        'DINO',
    ),
    'byol-pytorch': (
        lambda a, b: {
            **under('net.', a),
            **under('online_encoder.net.', a),
            **under('target_encoder.net.', b),
            **keys('online_encoder.projector.0.weight', 'online_predictor.0.weight'),
        },
        'byol-pytorch',
    ),
    'BYOL, networks with encoder': (
        lambda a, b: dict(
            model={
                **under('module.target_network.encoder.', b),
                **under('module.online_network.encoder.', a),
                **keys('module.predictor.net.0.weight'),
            }
        ),
        'BYOL',
    ),
    'BYOL, two state dicts': (
        lambda a, b: dict(
            target_network_state_dict=under('encoder.', numbered(b)),
            online_network_state_dict=under(
                'encoder.', numbered(a), **keys('projetion.net.0.weight')
            ),
        ),
        'BYOL, numbered',
    ),
    'lightly': (
        lambda a, b: dict(
            state_dict={
                **under('backbone.', numbered(a)),
                **keys('projection_head.layers.0.weight'),
            }
        ),
        'lightly',
    ),
    'lightly MoCo': (
        lambda a, b: dict(
            state_dict={
                **under('backbone_momentum.', numbered(b)),
                **under('backbone.', numbered(a)),
            }
        ),
        'lightly',
    ),
    'lightly DINO': (
        lambda a, b: {
            **under('student_backbone.', numbered(b)),
            **under('teacher_backbone.', numbered(a)),
        },
        'DINO of lightly',
    ),
    'solo-learn': (
        lambda a, b: dict(
            state_dict={
                **under('momentum_backbone.', b),
                **under('backbone.', a),
                **keys(
                    'classifier.weight',
                    'projector.0.weight',
                    'momentum_projector.0.weight',
                    'queue',
                ),
            }
        ),
        'solo-learn (backbone)',
    ),
    'solo-learn, earlier version': (
        lambda a, b: dict(
            state_dict={
                **under('momentum_encoder.', b),
                **under('encoder.', a),
                **keys('classifier.weight'),
            }
        ),
        'solo-learn (encoder)',
    ),
    'VISSL': (
        lambda a, b: dict(
            classy_state_dict=dict(
                base_model=dict(
                    model=dict(trunk=under('_feature_blocks.', a), heads=keys('0.clf.0.weight'))
                ),
                loss=dict(moco_encoder=dict(trunk=under('_feature_blocks.', b))),
            )
        ),
        'VISSL',
    ),
    'VISSL, extracted': (lambda a, b: dict(model_state_dict=under('_feature_blocks.', a)), 'VISSL'),
    'unknown framework': (lambda a, b: dict(weights=under('tower.net2.', a)), 'not in our list'),
}


@pytest.mark.parametrize('name', CASES)
def test_layout_is_matched_completely(resnet18, a, b, name):
    make, layout = CASES[name]
    found = flatten_checkpoint(make(a, b))
    report = match_backbone(resnet18, found)
    assert report.complete, report.table()
    assert layout in report.layout
    assert report.sources.keys() == resnet18.keys()  # including num_batches_tracked
    for own, key in report.sources.items():
        assert torch.equal(found[key], a[own]), (own, key)
    # all other tensors are counted
    assert len(found) == len(report.sources) + sum(report.dropped.values())
    if any(MOMENTUM_MARKERS & set(word.split('_')) for key in found for word in key.split('.')):
        assert 'is the documented one' in report.note and 'is not used' in report.note
    require_complete(report, 'x', found, allow_partial=False)


@pytest.mark.parametrize('name', CASES)
def test_order_of_the_keys_does_not_matter(resnet18, a, b, name):
    found = flatten_checkpoint(CASES[name][0](a, b))
    first = match_backbone(resnet18, found)
    second = match_backbone(resnet18, dict(reversed(found.items())))
    assert first.sources == second.sources and first.layout == second.layout


@pytest.mark.parametrize('name', CASES)
def test_files_without_batch_norm_counters(resnet18, a, b, name):
    def old(weights):
        return {k: v for k, v in weights.items() if 'num_batches' not in k}

    report = match_backbone(resnet18, flatten_checkpoint(CASES[name][0](old(a), old(b))))
    assert report.complete and report.matched == report.required == len(old(a)) == 100


def test_dropped_tensors_are_counted_by_name(resnet18, a, b):
    report = match_backbone(resnet18, flatten_checkpoint(CASES['MoCo v2'][0](a, b)))
    assert report.dropped == {'encoder_k': 120, 'queue': 1, 'queue_ptr': 1, 'encoder_q.fc': 1}
    report = match_backbone(resnet18, flatten_checkpoint(CASES['DINO'][0](a, b)))
    assert report.dropped == {'student': 121, 'teacher.head': 1, 'dino_loss': 1}
    report = match_backbone(resnet18, flatten_checkpoint(CASES["mmengine's EMAHook"][0](a, b)))
    assert report.dropped == {'ema_state_dict': 121}


def test_prefix_chooses_the_other_encoder(resnet18, a, b):
    found = flatten_checkpoint(CASES['MoCo v2'][0](a, b))
    for prefix in ('encoder_k', 'module.encoder_k.', 'state_dict.module.encoder_k'):
        report = match_backbone(resnet18, found, prefix)
        assert report.complete
        assert all(torch.equal(found[key], b[own]) for own, key in report.sources.items())
    plain = flatten_checkpoint(dict(model=a))
    assert match_backbone(resnet18, plain, '').complete


@pytest.mark.parametrize('prefix', ['encoder', 'encoder_q.layer1', 'ncoder_q', 'encoder_q.'])
def test_mistyped_prefix_is_an_error(resnet18, a, b, prefix):
    found = flatten_checkpoint(CASES['MoCo v2'][0](a, b))
    report = match_backbone(resnet18, found, prefix)
    if prefix == 'encoder_q.':  # the only valid one
        assert report.complete
        return
    with pytest.raises(ValueError, match=r'got \d+ of the 100 tensors') as error:
        require_complete(report, 'x', found, allow_partial=False)
    assert 'matched ' in str(error.value) and 'dropped ' in str(error.value)


def test_partial_match_needs_allow_partial(resnet18, a):
    part = {name: value for name, value in a.items() if name != 'layer3.0.conv1.weight'}
    found = flatten_checkpoint(under('backbone.', part))
    report = match_backbone(resnet18, found)
    assert report.missing == ['layer3.0.conv1.weight'] and report.matched == 99
    with pytest.raises(ValueError, match='99 of the 100 .* is layer3.0.conv1.weight: got nothing'):
        require_complete(report, 'x', found, allow_partial=False)
    require_complete(report, 'x', found, allow_partial=True)
    nothing = flatten_checkpoint({'fc.weight': ONE})
    with pytest.raises(ValueError, match="got 0 of the 100 tensors .* such as 'fc.weight'"):
        require_complete(match_backbone(resnet18, nothing), 'x', nothing, allow_partial=True)
    with pytest.raises(ValueError, match='got 0 of the 100'):
        require_complete(match_backbone(resnet18, {}), 'x', {}, allow_partial=True)


def test_incomplete_query_encoder_is_not_replaced_by_the_key_encoder(resnet18, a, b):
    found = flatten_checkpoint(CASES['MoCo v2'][0](a, b))
    del found['state_dict.module.encoder_q.conv1.weight']
    report = match_backbone(resnet18, found)
    assert report.missing == ['conv1.weight'] and 'encoder_q' in report.prefix
    assert "'state_dict.module.encoder_k.' is not used (100 of 100 fit)" in report.note


def test_two_encoders_of_the_same_role_are_ambiguous(resnet18, a, b):
    found = flatten_checkpoint({**under('left.', a), **under('right.', b)})
    report = match_backbone(resnet18, found)
    assert not report.complete and 'several encoders match' in report.note
    with pytest.raises(ValueError, match='choose one with prefix'):
        require_complete(report, 'x', found, allow_partial=True)
    right = match_backbone(resnet18, found, 'right')
    assert right.complete and torch.equal(found[right.sources['bn1.bias']], b['bn1.bias'])


def test_another_depth_is_an_error(resnet18, a):
    nets = {
        depth: MODELS.build(dict(type='ResNet', depth=depth)).state_dict() for depth in (34, 50)
    }
    report = match_backbone(resnet18, nets[50])
    assert report.mismatched['layer1.0.conv1.weight'] == ((64, 64, 1, 1), (64, 64, 3, 3))
    assert 'layer1.0.conv1.weight: got (64, 64, 1, 1), expected (64, 64, 3, 3)' in report.table()
    # a ResNet-34 has all names and shapes of a ResNet-18
    report = match_backbone(resnet18, nets[34])
    assert report.matched == 100 and not report.complete
    for depth, advice in ((34, 'model.backbone.depth=34'), (50, r'configs/res50_\.\.\.')):
        with pytest.raises(
            ValueError,
            match=(
                f'the file holds a ResNet-{depth}, the config builds a ResNet-18; use {advice}, or '
            ),
        ):
            require_complete(
                match_backbone(resnet18, nets[depth]), 'x', nets[depth], allow_partial=False
            )
    # No ResNet has only this third block.
    wide = dict(resnet18, **{'layer1.2.conv1.weight': a['conv1.weight']})
    with pytest.raises(ValueError, match='has no block for layer1.2.conv1.weight'):
        require_complete(match_backbone(resnet18, wide), 'x', wide, allow_partial=False)
    assert not match_backbone(nets[34], a).complete
    assert match_backbone(nets[50], nets[50]).complete


def test_backbone_of_fewer_stages(a):
    short = MODELS.build(
        dict(
            type='ResNet',
            depth=18,
            num_stages=2,
            strides=(1, 2),
            dilations=(1, 1),
            out_indices=(1,),
        )
    )
    report = match_backbone(short.state_dict(), flatten_checkpoint(under('backbone.', a)))
    assert report.complete and report.dropped['backbone.layer4'] > 0


def test_deep_stem_of_timm():
    own = filled(MODELS.build(dict(type='ResNetV1d', depth=18)).state_dict(), 5)
    theirs = {}
    for name, value in own.items():
        if name.startswith('stem.7.'):
            name = name.replace('stem.7.', 'bn1.')
        elif name.startswith('stem.'):
            name = 'conv1.' + name[len('stem.') :]
        theirs[name] = value
    report = match_backbone(own, flatten_checkpoint({**theirs, 'fc.weight': ONE}))
    assert report.complete and report.layout == 'timm, deep stem'
    assert all(theirs[key] is own[name] for name, key in report.sources.items())
    assert match_backbone(own, own).complete  # mmpretrain's own names


class Unit(nn.Module):
    """A unit of face.evoLVe's IR-50."""

    def __init__(self, inputs, outputs):
        super().__init__()
        if inputs != outputs:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, bias=False),
            nn.BatchNorm2d(outputs),
        )


class TinyIR(nn.Module):
    def __init__(self, output_layer):
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.PReLU(4)
        )
        self.body = nn.Sequential(Unit(4, 4), Unit(4, 8))
        if output_layer:
            self.output_layer = nn.Sequential(
                nn.BatchNorm2d(8), nn.Dropout(), nn.Flatten(), nn.Linear(8, 2), nn.BatchNorm1d(2)
            )


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_ir_of_face_evolve_is_matched(prefix):
    found = flatten_checkpoint(under(prefix, filled(TinyIR(output_layer=True).state_dict(), 4)))
    own = TinyIR(output_layer=False)
    report = match_backbone(own.state_dict(), found)
    assert report.complete and report.layout == "face.evoLVe's IR"
    assert report.dropped == {'output_layer': 12}
    own.load_state_dict({name: found[key] for name, key in report.sources.items()})
    assert torch.equal(own.body[1].res_layer[2].weight, found[f'{prefix}body.1.res_layer.2.weight'])


def test_released_ir50_is_matched(golden):
    shapes = json.loads((golden / 'state_dict_shapes.json').read_text())['ir50']
    found = {name: torch.zeros(shape) for name, shape in shapes.items()}
    wanted = {name: value for name, value in found.items() if not name.startswith('output_layer')}
    report = match_backbone(wanted, flatten_checkpoint(dict(state_dict=under('module.', found))))
    assert report.complete and report.layout == "face.evoLVe's IR"


@pytest.fixture
def ir50():
    """State dict of our IR-50, which numbers the units within each stage."""
    with torch.device('meta'):
        return IResNet().state_dict()


def number_across_stages(state_dict):
    """Rename to face.evoLVe's names, which number the units across all stages."""
    units, theirs = [], {}
    for name, value in state_dict.items():
        words = name.split('.')
        if words[0] == 'body':
            unit = words[1:3]
            if unit not in units:
                units.append(unit)
            words[1:3] = [str(units.index(unit))]
        theirs['.'.join(words)] = value
    return theirs


@pytest.mark.parametrize('prefix', ['', 'module.', 'model.backbone.'])
@pytest.mark.parametrize('names', [dict, number_across_stages])
def test_ir50_of_either_numbering(ir50, names, prefix):
    found = flatten_checkpoint(
        dict(state_dict={**under(prefix, names(ir50)), 'output_layer.3.weight': ONE})
    )
    report = match_backbone(ir50, found)
    assert report.complete and not report.note and report.matched == 285
    assert all(found[key] is ir50[name] for name, key in report.sources.items())
    if names is number_across_stages:
        assert report.sources['body.2.13.res_layer.3.weight'] == (
            f'state_dict.{prefix}body.20.res_layer.3.weight'
        )


def test_three_stages_from_an_ir50(ir50):
    with torch.device('meta'):
        wanted = IResNet(num_stages=3, out_indices=(2,)).state_dict()
    for names in (dict, number_across_stages):
        report = match_backbone(wanted, flatten_checkpoint(names(ir50)))
        assert report.complete and report.dropped == {'body': 3 * 13 + 6}


@pytest.mark.parametrize('names', [dict, number_across_stages])
@pytest.mark.parametrize('other', [dict(depth=100), dict(depth=152), dict(se=True)])
def test_another_ir_network_is_refused(ir50, other, names):
    with torch.device('meta'):
        theirs = IResNet(**other).state_dict()
    report = match_backbone(ir50, flatten_checkpoint(names(theirs)))
    assert not report.complete and (report.unused or report.mismatched)


def test_released_apvit_is_matched(golden):
    shapes = json.loads((golden / 'state_dict_shapes.json').read_text())['apvit']
    with torch.device('meta'):
        wanted = APViT().state_dict()
    found = {name: torch.empty(shape, device='meta') for name, shape in shapes.items()}
    report = match_backbone(wanted, flatten_checkpoint(dict(state_dict=found)))
    assert report.complete and report.layout == 'APViT' and report.dropped == {'head': 2}
    deeper = {**found, 'vit.blocks.8.norm1.weight': ONE}
    assert match_backbone(wanted, deeper).unused == ['vit.blocks.8.norm1.weight']


def test_flatten_keeps_tensors_only():
    cyclic = dict(w=ONE)
    cyclic['again'] = cyclic
    checkpoint = dict(
        epoch=3,
        args=None,
        state_dict=cyclic,
        optimizer=dict(state=dict(w=ONE)),
        none={},
        other={0: ONE, 'list': [ONE]},
    )
    assert list(flatten_checkpoint(checkpoint)) == ['state_dict.w']


def test_momentum_markers_are_counted():
    words = 'encoder_k', 'target_net', 'momentum_backbone', 'backbone_momentum', 'student'
    assert [count_momentum_markers(f'module.{word}.') for word in words] == [1] * 5
    assert count_momentum_markers('online_network.encoder.backbone.teacher.layer1.block.') == 0


def test_table_is_aligned_plain_text():
    report = compare_tensors({'a.w': ONE, 'b.w': ONE}, {'a.w': ONE, 'b.w': torch.ones(2), 'c': ONE})
    assert report.table() == (
        '  layout      names as they are\n'
        "  prefix      ''\n"
        '  matched     1 of 2\n'
        '  missing     0\n'
        "  mismatched  1: 'b.w: got (2,), expected (1,)'\n"
        '  dropped     c 1'
    )


NECK = dict(type='NonLinearNeck', in_channels=512, hid_channels=8, out_channels=8, num_layers=2)
MODELS_OF_MMPRETRAIN = {
    'BYOL of mmpretrain': dict(
        type='BYOL',
        neck=NECK,
        head=dict(
            type='LatentPredictHead',
            loss=dict(type='CosineSimilarityLoss'),
            predictor=dict(NECK, in_channels=8),
        ),
    ),
    'MoCo of mmpretrain': dict(
        type='MoCo',
        neck=NECK,
        queue_len=4,
        feat_dim=8,
        head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss')),
    ),
    'MoCo v3 of mmpretrain': dict(
        type='MoCoV3',
        base_momentum=0.01,
        neck=NECK,
        head=dict(
            type='MoCoV3Head',
            loss=dict(type='CrossEntropyLoss'),
            predictor=dict(NECK, in_channels=8),
        ),
    ),
    'mmpretrain or mmselfsup': dict(
        type='SimSiam',
        neck=NECK,
        head=dict(
            type='LatentPredictHead',
            loss=dict(type='CosineSimilarityLoss'),
            predictor=dict(NECK, in_channels=8),
        ),
    ),
}


@pytest.mark.parametrize('layout', MODELS_OF_MMPRETRAIN)
def test_models_of_mmpretrain_are_matched(resnet18, layout):
    cfg = dict(MODELS_OF_MMPRETRAIN[layout], backbone=dict(type='ResNet', depth=18))
    state = filled(MODELS.build(cfg).state_dict(), 6)
    report = match_backbone(resnet18, flatten_checkpoint(dict(state_dict=state, meta={})))
    assert report.complete and report.layout == layout
    assert report.sources == {name: f'state_dict.backbone.{name}' for name in resnet18}
    assert ('is not used' in report.note) == (layout != 'mmpretrain or mmselfsup')
