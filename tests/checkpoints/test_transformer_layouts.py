"""Vision transformers in the names of timm, MAE, DINO, iBOT and DINOv2 give the same features."""

import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmpretrain.registry import MODELS
from torch.nn import functional as F

from abaw_mm.checkpoints import check_fit
from abaw_mm.checkpoints.convert import convert_backbone
from abaw_mm.checkpoints.match import flatten_checkpoint, list_resizable, match_backbone

ARCH = dict(embed_dims=12, num_layers=3, num_heads=2, feedforward_channels=20)
SCALED = dict(layer_scale_init_value=0.5)
SWIGLU = dict(SCALED, layer_cfgs=dict(ffn_type='swiglu_fused'))
ONE = torch.ones(1)
# Parts of a name in mmpretrain, and in timm.
TIMM = {
    'patch_embed.projection.': 'patch_embed.proj.',
    'layers.': 'blocks.',
    '.ln1.': '.norm1.',
    '.ln2.': '.norm2.',
    '.ffn.blocks.0.0.': '.mlp.fc1.',
    '.ffn.blocks.1.': '.mlp.fc2.',
    '.ffn.w': '.mlp.w',
    '.attn.gamma1.weight': '.ls1.gamma',
    '.ffn.gamma2.weight': '.ls2.gamma',
}


def build(img_size=28, **settings):
    """Build a small transformer with random weights."""
    cfg = dict(type='VisionTransformer', arch=ARCH, img_size=img_size, patch_size=7)
    model = MODELS.build({**cfg, 'out_type': 'raw', **settings})
    for value in model.state_dict().values():
        value.copy_(torch.randn(value.shape) / 2)
    model.eval()
    return model


def to_timm(state_dict):
    names = {}
    for name, value in state_dict.items():
        key = name
        for ours, theirs in TIMM.items():
            key = key.replace(ours, theirs)
        names['norm' + key[3:] if key.startswith('ln1') else key] = value
    return names


def to_chunks(timm, size=2):
    """Number the chunks, as DINOv2 does in training; the blocks keep their numbers."""

    def rename(key):
        words = key.split('.')
        if words[0] == 'blocks':
            words.insert(1, str(int(words[1]) // size))
        return '.'.join(words)

    return {rename(key): value for key, value in timm.items()}


def to_ibot(timm):
    return {
        k.replace('ls1.gamma', 'gamma_1').replace('ls2.gamma', 'gamma_2'): v
        for k, v in timm.items()
    }


def wrap_blocks(timm, word):
    """Wrap each block and its attention, as FSDP and activation checkpointing do."""
    names = {}
    for key, value in timm.items():
        words = []
        for part in key.split('.'):
            words += [part]
            if part.isdigit() or part == 'attn':
                words.append(word)
        names['.'.join(words)] = value
    return names


def under(prefix, weights):
    return {f'{prefix}{name}': value for name, value in weights.items()}


def keys(*names):
    return dict.fromkeys(names, ONE)


def random_like(weights):
    return {name: torch.randn_like(value) for name, value in weights.items()}


# Name: settings of the transformer, the checkpoint from weights in timm's names, name of the
# layout, number of tensors that are dropped.
CASES = {
    'timm': ({}, lambda w: {**w, **keys('head.weight', 'head.bias')}, 'timm', 2),
    'timm, wrapped': ({}, lambda w: dict(state_dict=under('module._orig_mod.', w)), 'timm', 0),
    'timm, LayerScale': (SCALED, lambda w: w, 'timm', 0),
    'MAE': (
        {},
        lambda w: dict(
            model={
                **w,
                **keys('mask_token', 'decoder_pos_embed', 'decoder_embed.weight'),
                **keys('decoder_blocks.0.norm1.weight', 'decoder_norm.bias', 'decoder_pred.bias'),
            }
        ),
        'MAE',
        6,
    ),
    'DINO': ({}, lambda w: w, 'DINO', 0),
    'DINO, full': (
        {},
        lambda w: dict(
            student=under('module.backbone.', random_like(w)),
            teacher={**under('backbone.', w), **keys('head.last_layer.weight_g')},
            optimizer=dict(state={0: keys('exp_avg')}),
        ),
        'DINO, iBOT or DINOv2',
        43,
    ),
    'iBOT': (
        SCALED,
        lambda w: dict(
            student={
                **under('module.backbone.', random_like(to_ibot(w))),
                **keys('module.backbone.masked_embed', 'module.head.mlp.0.bias'),
            },
            teacher={**under('backbone.', to_ibot(w)), **keys('head.mlp.0.bias')},
        ),
        'DINO, iBOT or DINOv2',
        51,
    ),
    'iBOT, extracted': (SCALED, lambda w: dict(state_dict=to_ibot(w)), 'iBOT', 0),
    'DINOv2': (SCALED, lambda w: {**w, **keys('mask_token')}, 'DINOv2', 1),
    'DINOv2, giant': (SWIGLU, lambda w: {**w, **keys('mask_token')}, 'DINOv2', 1),
    'DINOv2, chunks': (
        SCALED,
        lambda w: dict(
            teacher={
                **under('backbone.', to_chunks(w)),
                **keys('backbone.mask_token', 'dino_head.mlp.0.bias', 'ibot_head.mlp.0.bias'),
            }
        ),
        'DINO, iBOT or DINOv2',
        3,
    ),
    'DINOv2, sharded': (
        SCALED,
        lambda w: dict(
            model={
                **under(
                    'teacher.backbone._fsdp_wrapped_module.',
                    wrap_blocks(to_chunks(w), '_fsdp_wrapped_module'),
                ),
                **under(
                    'student.backbone._fsdp_wrapped_module.',
                    wrap_blocks(to_chunks(random_like(w)), '_fsdp_wrapped_module'),
                ),
            }
        ),
        'DINO, iBOT or DINOv2',
        48,
    ),
    'MoCo v3': (
        {},
        lambda w: dict(
            state_dict={
                **under('module.base_encoder.', w),
                **under('module.momentum_encoder.', random_like(w)),
                **keys('module.base_encoder.head.0.weight', 'module.predictor.0.weight'),
            }
        ),
        'MoCo v3',
        44,
    ),
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def log(monkeypatch):
    """Collect the log, also that of mmpretrain."""
    lines = []
    monkeypatch.setattr(
        MMLogger, 'callHandlers', lambda self, record: lines.append(record.getMessage())
    )
    logging.getLogger('mmengine').setLevel(logging.INFO)
    return lines


def load(tmp_path, checkpoint, **settings):
    """Fill a transformer from a file, as a training does."""
    torch.save(checkpoint, tmp_path / 'vit.pth')
    init_cfg = dict(type='SSLPretrained', checkpoint=str(tmp_path / 'vit.pth'))
    model = build(init_cfg=init_cfg, **settings)
    model.init_weights()
    return model


@pytest.mark.parametrize('name', CASES)
def test_features_are_equal_in_each_layout(tmp_path, log, name):
    settings, make, layout, dropped = CASES[name]
    source = build(**settings)
    images = torch.randn(2, 3, 28, 28)
    expected = source(images)[0]
    checkpoint = make(to_timm(source.state_dict()))
    model = load(tmp_path, checkpoint, **settings)
    assert torch.equal(model(images)[0], expected)
    table = next(line for line in log if line.startswith('SSLPretrained'))
    number = len(source.state_dict())
    assert f'{number} of {number}' in table
    report = match_backbone(source.state_dict(), flatten_checkpoint(checkpoint))
    assert report.complete and layout in report.layout
    assert sum(report.dropped.values()) == dropped, report.dropped


def test_position_embedding_of_another_size_is_resized(tmp_path, log):
    source = build(img_size=35)  # 5x5 patches, and 4x4 below
    weights = source.state_dict()
    model = load(tmp_path, to_timm(weights))
    token, patches = weights['pos_embed'].split([1, 25], dim=1)
    patches = patches.transpose(1, 2).unflatten(2, (5, 5))
    patches = F.interpolate(patches, (4, 4), mode='bicubic').flatten(2).transpose(1, 2)
    assert torch.allclose(model.pos_embed, torch.cat([token, patches], 1), atol=1e-6)
    rest = {name: value for name, value in weights.items() if name != 'pos_embed'}
    assert all(torch.equal(model.state_dict()[name], value) for name, value in rest.items())
    assert any('resized     pos_embed: (1, 26, 12) to (1, 17, 12)' in line for line in log)
    # The image of another size gives the same features, resized in either network.
    images = torch.randn(1, 3, 28, 28)
    assert torch.allclose(model(images)[0], source(images)[0], atol=1e-5)


def test_mmpretrains_own_names_are_resized_as_well(tmp_path):
    source = build(img_size=35)
    model = load(tmp_path, dict(state_dict=under('backbone.', source.state_dict())))
    images = torch.randn(1, 3, 28, 28)
    assert torch.allclose(model(images)[0], source(images)[0], atol=1e-5)


@pytest.mark.parametrize('shape', [(1, 16, 12), (1, 19, 12), (1, 26, 8), (26, 12)])
def test_other_position_embeddings_are_refused(tmp_path, shape):
    weights = {**to_timm(build().state_dict()), 'pos_embed': torch.zeros(shape)}
    with pytest.raises(ValueError, match=r'pos_embed: got \(.*\), expected \(1, 17, 12\)'):
        load(tmp_path, weights)


@pytest.mark.parametrize(
    ('has', 'wants', 'more', 'message'),
    [
        (SCALED, {}, (), 'no place for blocks.0.ls1.gamma; set .*layer_scale_init_value=1e-5'),
        ({}, SCALED, (), 'attn.gamma1.weight: got nothing; remove .*layer_scale_init_value'),
        (SWIGLU, SCALED, (), 'no place for .*mlp.w12.weight; .*swiglu_fused'),
        ({}, {}, ('register_tokens',), 'no place for register_tokens; .* without register'),
        ({}, {}, ('reg_token',), 'no place for reg_token; .* without register'),
        ({}, {}, ('dist_token',), 'no place for dist_token; .* without distillation'),
        ({}, {}, ('norm_pre.weight',), 'no place for norm_pre.weight; .*pre_norm=True'),
        ({}, {}, ('blocks.3.norm1.bias',), 'has no block for blocks.3.norm1.bias'),
    ],
)
def test_parts_that_change_the_features_are_not_dropped(tmp_path, has, wants, more, message):
    weights = {**to_timm(build(**has).state_dict()), **keys(*more)}
    with pytest.raises(ValueError, match=message):
        load(tmp_path, weights, **wants)


def test_converted_file_loads_into_another_size_in_mmpretrain_alone(tmp_path):
    source = build(img_size=35)
    converted = convert_backbone(
        to_timm(source.state_dict()),
        dict(type='VisionTransformer', arch=ARCH, img_size=28, patch_size=7),
        tmp_path / 'vit.pth',
    )
    torch.save(dict(state_dict=converted.state_dict), tmp_path / 'out.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'out.pth'), prefix='backbone.')
    model = build(init_cfg=init_cfg)
    model.init_weights()
    images = torch.randn(1, 3, 28, 28)
    assert torch.allclose(model(images)[0], source(images)[0], atol=1e-5)


def test_official_names_fill_the_config_of_dinov2(repo):
    cfg = Config.fromfile(str(repo / 'configs/dinov2_srp_affwild2.py')).model.backbone
    cfg.pop('init_cfg', None)
    with torch.device('meta'):
        backbone = MODELS.build(cfg)
    wanted = backbone.state_dict()
    report = match_backbone(wanted, {**to_timm(wanted), **keys('mask_token')})
    assert report.complete and report.matched == 174 and report.layout == 'DINOv2'


def classifier(img_size):
    cfg = dict(type='VisionTransformer', arch=ARCH, img_size=img_size, patch_size=7)
    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=cfg,
            head=dict(type='LinearClsHead', num_classes=8, in_channels=12),
        )
    )


def test_load_from_resizes_and_a_test_does_not():
    checkpoint = dict(state_dict=classifier(35).state_dict())
    table, fits = check_fit(classifier(28), checkpoint, 'vit.pth', finetuning=True)
    assert fits and 'resized     backbone.pos_embed: (1, 26, 12) to (1, 17, 12)' in table
    with pytest.raises(ValueError, match=r'backbone.pos_embed \(got \(1, 26, 12\)'):
        check_fit(classifier(28), checkpoint, 'vit.pth')


def test_only_position_embeddings_of_mmpretrain_are_resizable():
    assert list_resizable(classifier(28)) == {'backbone.pos_embed': 1}
    deit3 = MODELS.build(dict(type='DeiT3', arch=ARCH, img_size=28, patch_size=7))
    assert list_resizable(deit3) == {'pos_embed': 0}
    assert list_resizable(torch.nn.Linear(2, 2)) == {}


WRAPPERS = ('module', '_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module')


@pytest.mark.parametrize('word', WRAPPERS)
@pytest.mark.parametrize('prefix', ['', 'module.', 'state_dict.module.encoder_q._orig_mod.'])
def test_wrappers_inside_the_names_of_a_resnet(word, prefix):
    own = MODELS.build(dict(type='ResNet', depth=18)).state_dict()
    found = {}
    for name, value in own.items():
        words = name.split('.')
        # around conv1, around each stage, and around each convolution in it
        words.insert(1, word)
        if words[0].startswith('layer'):
            words.insert(4, f'{word}.{word}')
        found[prefix + '.'.join(words)] = value
    found[f'{prefix}fc.{word}.weight'] = ONE
    report = match_backbone(own, found)
    assert report.complete and report.matched == 100 and report.prefix == prefix
    assert all(found[key] is own[name] for name, key in report.sources.items())
    assert sum(report.dropped.values()) == 1


def test_classifier_with_wrappers_inside_its_names():
    source, model = classifier(28), classifier(28)
    checkpoint = dict(
        state_dict={
            name.replace('backbone.', 'backbone._orig_mod.'): value
            for name, value in source.state_dict().items()
        }
    )
    _, fits = check_fit(model, checkpoint, 'vit.pth')
    assert fits
    model.load_state_dict(checkpoint['state_dict'])
    assert torch.equal(model.backbone.ln1.weight, source.backbone.ln1.weight)
