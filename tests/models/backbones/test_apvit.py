"""APViT: outputs equal those of the released code; pooling keeps the right tokens."""

import pytest
import torch
from mmpretrain.registry import MODELS

from abaw_mm.engine.hooks import StrictCheckpointHook
from abaw_mm.models import APViT, IResNet
from abaw_mm.models.backbones.apvit import keep_tokens, spatial_attention

SMALL = dict(img_size=32, keep_patches=10, keep_rates=(1, 0.5), embed_dims=16, num_heads=2)


def make_small(**kwargs):
    torch.manual_seed(0)
    return APViT(**{**SMALL, **kwargs}).eval()


def test_features_equal_released_code(released, tmp_path):
    torch.save(released.state_dict('apvit'), tmp_path / 'apvit.pth')
    init_cfg = dict(type='SSLPretrained', checkpoint=str(tmp_path / 'apvit.pth'))
    backbone = MODELS.build(dict(type='APViT', init_cfg=init_cfg))
    backbone.init_weights()
    backbone.eval()
    images = released.fill.image((2, 3, 112, 112), seed=768)
    with torch.no_grad():
        (feature,) = backbone(images)
        attention = backbone.attention_map(images)
    torch.testing.assert_close(feature, released.output('apvit_feature'), atol=1e-4, rtol=0)
    torch.testing.assert_close(attention, released.output('apvit_attn_map'), atol=1e-4, rtol=0)


def test_released_classifier_equals_released_code(released, testing_runner):
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='APViT'),
            head=dict(type='LinearClsHead', num_classes=8, in_channels=768),
        )
    )
    checkpoint = dict(state_dict=released.state_dict('apvit'))  # extractor., vit., head.
    StrictCheckpointHook().after_load_checkpoint(testing_runner(model), checkpoint)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    model.eval()
    with torch.no_grad():
        logits = model(released.fill.image((2, 3, 112, 112), seed=768))
    torch.testing.assert_close(logits, released.output('apvit_logits'), atol=1e-4, rtol=0)


@pytest.fixture
def testing_runner():
    """Return a replacement for a Runner with the attributes that the hook reads."""

    class Testing:
        _train_loop = _val_loop = _test_loop = None
        _load_from, _resume = 'apvit.pth', False

        def __init__(self, model):
            self.model = model

    return Testing


def test_keep_tokens_selects_the_highest_scores():
    torch.manual_seed(0)
    tokens, scores = torch.randn(3, 9, 4), torch.randn(3, 9)
    for sample, kept in enumerate(keep_tokens(tokens, scores, 4)):
        threshold = sorted(scores[sample].tolist())[-4]
        assert torch.equal(kept, tokens[sample][scores[sample] >= threshold])


def test_dropped_patches_do_not_affect_the_feature():
    backbone = make_small()
    maps = torch.randn(1, 256, 4, 4)
    score = spatial_attention(backbone.vit.projs[0](maps)).flatten()
    order = score.argsort()
    with torch.no_grad():
        before = backbone.vit(maps)
        for cell, matters in ((order[0], False), (order[5], False), (order[6], True)):
            changed = maps.clone()
            # Lower attention, so that dropped patches stay dropped.
            changed.view(256, 16)[:, cell] *= 0.99
            same = torch.allclose(backbone.vit(changed), before, atol=1e-7)
            assert same != matters


def test_blocks_keep_their_rate_of_patches():
    backbone = make_small(keep_rates=(1, 0.5, 0.5, 0.9))
    lengths = []
    for block in backbone.vit.blocks:
        block.register_forward_hook(lambda module, args, out: lengths.append(out.shape[1]))
    with torch.no_grad():
        assert backbone(torch.randn(2, 3, 32, 32))[0].shape == (2, 16)
    assert lengths == [1 + 10, 1 + 5, 1 + 2, 1 + 1]  # the class token is never dropped


def test_token_pooling_keeps_the_token_that_the_class_token_attends_to():
    block = make_small(keep_rates=(0.5,)).vit.blocks[0]
    torch.manual_seed(1)
    x = torch.randn(1, 3, 16)
    with torch.no_grad():
        query, key, _ = block.attn.qkv(block.norm1(x))[0].split(16, dim=-1)
        logits = [(query[0] @ key[i]).item() for i in (1, 2)]  # summed over both heads
        whole = make_small(keep_rates=(1,)).vit.blocks[0]
        whole.load_state_dict(block.state_dict())
        expected = whole(x)[:, [0, 1 + (logits[1] > logits[0])]]
        torch.testing.assert_close(block(x), expected)


def test_extractor_starts_from_face_recognition_weights(tmp_path):
    """The checkpoint has the names of face.evoLVe and a fourth stage, which is not used."""
    torch.manual_seed(1)
    numbered = {}
    for name, value in IResNet().state_dict().items():
        words = name.split('.')
        if words[0] == 'body':
            before = (0, 3, 7, 21)[int(words[1])]
            words[1:3] = [str(before + int(words[2]))]
        numbered['.'.join(words)] = value
    torch.save(numbered, tmp_path / 'ir50.pth')
    init_cfg = dict(type='SSLPretrained', checkpoint=str(tmp_path / 'ir50.pth'))
    backbone = make_small(extractor_init_cfg=init_cfg)
    backbone.init_weights()
    assert torch.equal(
        backbone.extractor.body[2][13].res_layer[3].weight, numbered['body.20.res_layer.3.weight']
    )
    assert backbone.vit.blocks[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_transformer_starts_from_timm_weights(tmp_path):
    """The position and patch embeddings of timm do not fit and are left out."""
    source = make_small(keep_rates=(1, 1)).vit.state_dict()
    torch.manual_seed(5)
    theirs = {
        name: torch.rand_like(value)
        for name, value in source.items()
        if name.startswith(('blocks.', 'norm.', 'cls_token'))
    }
    theirs.update({'pos_embed': torch.rand(1, 17, 16), 'patch_embed.proj.bias': torch.rand(16)})
    torch.save(dict(model=theirs), tmp_path / 'vit.pth')
    init_cfg = dict(type='SSLPretrained', checkpoint=str(tmp_path / 'vit.pth'), allow_partial=True)
    backbone = make_small(vit_init_cfg=init_cfg)
    kept = backbone.vit.patch_pos_embed.clone()
    backbone.init_weights()
    state = backbone.vit.state_dict()
    for name in ('blocks.1.mlp.fc2.weight', 'blocks.0.attn.qkv.weight', 'norm.bias', 'cls_token'):
        assert torch.equal(state[name], theirs[name]), name
    assert torch.equal(state['patch_pos_embed'], kept)


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(img_size=100), 'img_size=100, expected a multiple of 8'),
        (dict(keep_patches=17), 'keep_patches=17, expected 1 to 16, the patches of 32x32 pixels'),
        (dict(keep_rates=(1, 0)), r'keep_rates=\(1, 0\), expected each above 0'),
        (dict(num_heads=3), 'embed_dims=16, expected a multiple of num_heads=3'),
        (dict(frozen_stages=5), 'frozen_stages=5, expected -1 to 4'),
    ],
)
def test_invalid_argument_raises(cfg, message):
    with pytest.raises(ValueError, match=message):
        make_small(**cfg)


def test_image_of_another_size_raises():
    with pytest.raises(ValueError, match='got images of 40x32 pixels, expected 32x32'):
        make_small()(torch.zeros(1, 3, 40, 32))
