"""Tensor names of encoders in the checkpoints of other frameworks.

Keys are those of the flattened checkpoint: ``{'state_dict': {'module.encoder_q.bn1.bias': ...}}``
has the key ``state_dict.module.encoder_q.bn1.bias``. The *prefix* is the part before the backbone's
own names. The *path* is the prefix without wrappers (``encoder_q``). :data:`LAYOUTS` identifies the
framework by the path. The name of the file is never used.

If a checkpoint holds two encoders, one is used:

==================================== ===================== ==================================
layout                               used                  not used
==================================== ===================== ==================================
MoCo v1, v2; mmselfsup's             query, ``encoder_q``  key, ``encoder_k``
MoCo v3                              ``base_encoder``      ``momentum_encoder``
BYOL, ContraWarping                  ``online_...``        ``target_...``
mmpretrain BYOL, MoCo, MoCo v3       ``backbone``          ``target_net``, ``encoder_k``,
                                                           ``momentum_encoder``
lightly, solo-learn                  ``backbone``          ``..._momentum``, ``momentum_...``
VISSL MoCo                           ``trunk``             ``moco_encoder``
DINO, also in lightly                **teacher**           student
an average beside the state dict     ``state_dict``,       ``ema_state_dict``,
(mmengine's EMAHook, timm)           ``model``             ``state_dict_ema``, ``model_ema``
==================================== ===================== ==================================

This is the encoder that is trained by gradients, except for DINO, whose authors evaluate and
release the teacher. (mmengine's EMAHook stores the averaged weights in ``state_dict``.)
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache

# Pairs of the first words of a name: in our backbone, in the checkpoint. `*` is a number.
Naming = tuple[tuple[str, str], ...]

# Wrappers of modules, of which any part of an encoder may have one: DDP, torch.compile, FSDP,
# activation checkpointing.
MODULE_WRAPPERS = {'module', '_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module'}
# Words that wrap an encoder without saying which one it is, and names of averaged weights.
WRAPPERS = MODULE_WRAPPERS | {'model', 'state_dict', 'model_state_dict', 'classy_state_dict'}
AVERAGES = {'ema_state_dict', 'state_dict_ema', 'model_ema', 'ema_model', 'ema'}
# Parts of words (`encoder_k`, `momentum_backbone`) that mark the encoder that is not used.
MOMENTUM_MARKERS = {'k', 'key', 'target', 'momentum', 'moco', 'ema', 'student'}

PLAIN: Naming = ()
# nn.Sequential(*list(resnet.children())[:-1]): conv1, bn1, relu, maxpool, four stages.
NUMBERED: Naming = (
    ('conv1', '0'),
    ('bn1', '1'),
    ('layer1', '4'),
    ('layer2', '5'),
    ('layer3', '6'),
    ('layer4', '7'),
)
# mmpretrain's ResNetV1c and V1d have one `stem`; in timm `conv1` is the stem without its last norm.
DEEP_STEM: Naming = (('stem.7', 'bn1'), ('stem', 'conv1'))
# timm's VisionTransformer, whose names MAE, DINO, iBOT and DINOv2 share.
TRANSFORMER: Naming = (
    ('patch_embed.projection', 'patch_embed.proj'),
    ('pre_norm', 'norm_pre'),
    ('layers.*.ln1', 'blocks.*.norm1'),
    ('layers.*.attn.gamma1.weight', 'blocks.*.ls1.gamma'),
    ('layers.*.ln2', 'blocks.*.norm2'),
    ('layers.*.ffn.layers.0.0', 'blocks.*.mlp.fc1'),
    ('layers.*.ffn.layers.1', 'blocks.*.mlp.fc2'),
    ('layers.*.ffn.gamma2.weight', 'blocks.*.ls2.gamma'),
    ('layers.*.ffn', 'blocks.*.mlp'),  # SwiGLU: w12, w3
    ('layers.*', 'blocks.*'),
    ('ln1', 'norm'),
    ('ln2', 'fc_norm'),
)
NAMINGS = (PLAIN, NUMBERED, DEEP_STEM, TRANSFORMER)
# A released APViT classifier has the two parts of the backbone at the top level.
APVIT_CLASSIFIER: Naming = (('backbone.extractor', 'extractor'), ('backbone.vit', 'vit'))

# The start of a name in a stage, of which a deeper network has more blocks.
STAGE = re.compile(r'(layer\w*|(extractor\.)?body\.\d+|vit\.blocks)\.')
# Tensors of a vision transformer outside of its blocks that its features depend on.
TOKENS = ('register_tokens', 'reg_token', 'dist_token', 'norm_pre', 'rel_pos_bias')
# DINOv2 trains its blocks in chunks: block 3 is `blocks.0.3` or `blocks.1.3`.
CHUNK = re.compile(r'\bblocks\.\d+\.(?=\d+\.)')
# LayerScale in iBOT; in timm and DINOv2 it is `ls1.gamma`.
LAYER_SCALE = re.compile(r'\bgamma_([12])$')
UNIT = re.compile(r'(.*\b)?body\.(\d+)\.(\d+)\.')


@dataclass(frozen=True)
class Layout:
    """Where a framework stores an encoder.

    Args:
        name: Name of the layout in the table of an import.
        path: Regular expression for the end of the path of any of its encoders.
        marks: First words of other keys, one of which the file must have. Empty: no condition.
        naming: Names of the tensors below the path.
    """

    name: str
    path: str
    marks: tuple[str, ...] = ()
    naming: Naming = PLAIN


# The first match counts.
LAYOUTS = (
    Layout('VISSL', r'_feature_blocks'),
    Layout(
        'ContraWarping or BYOL of mmselfsup',
        r'backbone|(online|target)_net(\.0|\.backbone)?',
        ('online_net',),
    ),
    Layout('BYOL of mmpretrain', r'backbone|target_net(\.0)?', ('target_net',)),
    Layout('MoCo of mmselfsup', r'backbone|encoder_[qk]\.0', ('encoder_q',)),
    Layout('MoCo v1, v2', r'encoder_[qk]', ('encoder_q',)),
    Layout('MoCo of mmpretrain', r'backbone|encoder_k(\.0)?', ('encoder_k',)),
    Layout('MoCo v3', r'(base|momentum)_encoder', ('base_encoder',)),
    Layout('MoCo v3', r'(base|momentum)_encoder', ('base_encoder',), TRANSFORMER),
    Layout(
        'solo-learn (backbone)',
        r'(momentum_)?backbone',
        ('momentum_backbone', 'projector', 'classifier', 'momentum_projector'),
    ),
    Layout(
        'solo-learn (encoder)',
        r'(momentum_)?encoder',
        ('momentum_encoder', 'projector', 'classifier', 'momentum_projector'),
    ),
    Layout('MoCo v3 of mmpretrain', r'backbone|momentum_encoder(\.0)?', ('momentum_encoder',)),
    Layout('DINO', r'(teacher|student)(\.backbone)?', ('teacher', 'student')),
    Layout(
        'DINO, iBOT or DINOv2',
        r'(teacher|student)(\.backbone)?',
        ('teacher', 'student'),
        TRANSFORMER,
    ),
    Layout('MAE', r'', ('decoder_embed', 'decoder_blocks'), TRANSFORMER),
    Layout('DINOv2', r'', ('mask_token', 'register_tokens'), TRANSFORMER),
    Layout('vision transformer of timm, MAE, DINO or iBOT', r'', naming=TRANSFORMER),
    Layout('DINO of lightly', r'(teacher|student)_backbone', naming=NUMBERED),
    Layout(
        'byol-pytorch', r'((online|target)_encoder\.)?net', ('online_encoder', 'target_encoder')
    ),
    Layout('BYOL', r'(online|target)_(network|encoder)(_state_dict)?(\.(encoder|backbone|net))?'),
    Layout(
        'BYOL, numbered',
        r'(online|target)_(network|encoder)(_state_dict)?(\.encoder)?',
        naming=NUMBERED,
    ),
    Layout('SimSiam', r'encoder', ('predictor',)),
    Layout('lightly', r'(momentum_)?backbone(_momentum)?', naming=NUMBERED),
    Layout('mmpretrain or mmselfsup', r'backbone'),
    Layout('APViT', r'', ('vit',)),
    Layout("face.evoLVe's IR", r'', ('input_layer',)),
    Layout('plain names: torchvision or timm', r''),
    Layout('timm, deep stem', r'', naming=DEEP_STEM),
)


def strip_wrappers(key: str) -> str:
    """Remove the words of wrappers from a key or a prefix.

    >>> strip_wrappers('state_dict.module.encoder_q.')
    'encoder_q'
    """
    return '.'.join(word for word in key.split('.') if word and word not in WRAPPERS)


def count_momentum_markers(prefix: str) -> int:
    """Count the words of a prefix that mark the encoder that is not used.

    >>> count_momentum_markers('state_dict.module.encoder_q.')
    0
    >>> count_momentum_markers('ema_state_dict.momentum_encoder.')
    2
    """
    return sum(bool(MOMENTUM_MARKERS.intersection(w.split('_'))) for w in prefix.split('.'))


def translate_name(name: str, naming: Naming) -> str:
    """Translate the name of one of our tensors to its name in a checkpoint.

    >>> translate_name('layer1.0.conv1.weight', NUMBERED)
    '4.0.conv1.weight'
    >>> translate_name('layers.11.ffn.layers.0.0.weight', TRANSFORMER)
    'blocks.11.mlp.fc1.weight'
    """
    for ours, theirs in naming:
        hit = _compile_words(ours).match(name)
        if hit:
            return theirs.replace('*', hit[hit.lastindex or 0]) + name[hit.end() :]
    return name


@cache
def _compile_words(words: str) -> re.Pattern:
    return re.compile(re.escape(words).replace(r'\*', r'(\d+)') + r'(?=\.|$)')


def simplify_name(name: str) -> str:
    """Remove from the name of a tensor in a checkpoint what training has added to it.

    These are wrappers around parts of the encoder, DINOv2's chunks of blocks, and iBOT's name of
    LayerScale.

    >>> simplify_name('layer1._orig_mod.0.conv1.weight')
    'layer1.0.conv1.weight'
    >>> simplify_name('blocks.1._fsdp_wrapped_module.3.ls1.gamma')
    'blocks.3.ls1.gamma'
    """
    words = '.'.join(word for word in name.split('.') if word not in MODULE_WRAPPERS)
    return LAYER_SCALE.sub(r'ls\1.gamma', CHUNK.sub('blocks.', words))


def number_units(names: Iterable[str]) -> Naming:
    """Make face.evoLVe's naming of an IR-50, which numbers the units across all stages.

    >>> number_units(['body.0.0.res_layer.0.weight', 'body.0.1.w', 'body.1.0.w', 'conv1.weight'])
    (('body.0.0', 'body.0'), ('body.0.1', 'body.1'), ('body.1.0', 'body.2'))
    """
    units = {(hit[1] or '', int(hit[2]), int(hit[3])) for hit in map(UNIT.match, names) if hit}
    return tuple(
        (f'{start}body.{stage}.{unit}', f'{start}body.{number}')
        for number, (start, stage, unit) in enumerate(sorted(units))
    )


def list_stage_prefixes(names: Iterable[str], naming: Naming) -> tuple[str, ...]:
    """List the prefix of each stage under the naming of a checkpoint.

    >>> list_stage_prefixes(['conv1.weight', 'layer1.0.bn1.bias', 'layer1.1.bn1.bias'], NUMBERED)
    ('4.',)
    """
    stages = set()
    for name in names:
        stage = STAGE.match(name)
        if stage:
            words = translate_name(name, naming).split('.')[: stage[0].count('.')]
            stages.add('.'.join(words) + '.')
    return tuple(stages)


def map_classifier_names(wanted: Collection[str], found: Collection[str]) -> dict[str, str]:
    """Map the tensor names of a released or wrapped classifier to ours.

    Args:
        wanted: Names of our classifier.
        found: Keys of the checkpoint.

    Returns:
        dict: Our name for each key of the checkpoint. Empty if no other naming matches more names
        than ours.

    >>> map_classifier_names(['backbone.vit.norm.weight', 'head.fc.bias'],
    ...                      ['vit.norm.weight', 'head.fc.bias'])
    {'vit.norm.weight': 'backbone.vit.norm.weight', 'head.fc.bias': 'head.fc.bias'}
    """
    simple = {key: simplify_name(key) for key in found}
    candidates = [{key: name for key, name in simple.items() if name in wanted}]
    for naming in (number_units(wanted), APVIT_CLASSIFIER):
        names = {translate_name(name, naming): name for name in wanted}
        candidates.append({key: names[key] for key in found if key in names})
    best = max(candidates, key=len)
    return best if len(best) > sum(name in found for name in wanted) else {}


def identify_layout(prefix: str, naming: Naming, first_words: set[str]) -> str:
    """Return the name of the layout in :data:`LAYOUTS` that an encoder's prefix belongs to.

    Args:
        prefix: Prefix of the encoder.
        naming: Naming of the tensors below it.
        first_words: First words of the paths of all keys in the file.
    """
    if naming not in NAMINGS:  # made from the backbone's names by number_units
        return "face.evoLVe's IR"
    path = '.'.join(word for word in strip_wrappers(prefix).split('.') if word not in AVERAGES)
    for layout in LAYOUTS:
        if layout.naming != naming or (layout.marks and not first_words & set(layout.marks)):
            continue
        if re.fullmatch(layout.path, path) or (
            layout.path and re.search(rf'\.({layout.path})$', path)
        ):
            return layout.name
    return f'not in our list, names under {path!r}'
