"""How self-supervised frameworks name the tensors of an encoder, as data.

A checkpoint is seen flat: ``{'state_dict': {'module.encoder_q.conv1.weight': ...}}`` has the key
``state_dict.module.encoder_q.conv1.weight``. What stands before the backbone's own names is the
*prefix*; without the words of wrappers and nests it is the *path* (``encoder_q``), by which
:data:`LAYOUTS` recognises who wrote the file. The file's name is never looked at.

Of two encoders one is taken:

==================================== ===================== ==================================
layout                               taken                 not taken
==================================== ===================== ==================================
MoCo v1, v2; mmselfsup's             query, ``encoder_q``  key, ``encoder_k``
MoCo v3                              ``base_encoder``      ``momentum_encoder``
BYOL, ContraWarping                  ``online_...``        ``target_...``
mmpretrain BYOL, MoCo, MoCo v3       ``backbone``          ``target_net``, ``encoder_k``,
                                                           ``momentum_encoder``
lightly, solo-learn                  ``backbone``          ``..._momentum``, ``momentum_...``
VISSL MoCo                           ``trunk``             ``moco_encoder``
DINO, in lightly, too                **teacher**           student
an average beside the state dict     ``state_dict``,       ``ema_state_dict``,
(mmengine's EMAHook, timm)           ``model``             ``state_dict_ema``, ``model_ema``
==================================== ===================== ==================================

So it is the one that learns by gradients, but DINO's teacher, which its authors evaluate and
release. (mmengine's EMAHook puts the averaged weights into ``state_dict`` when it saves.)
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

# Words that wrap or nest an encoder and say nothing of its role, and those of averages.
WRAPPERS = {'module', '_orig_mod', 'model', 'state_dict', 'model_state_dict', 'classy_state_dict'}
AVERAGES = {'ema_state_dict', 'state_dict_ema', 'model_ema', 'ema_model', 'ema'}
# Parts of words (`encoder_k`, `momentum_backbone`) of the encoder that is not taken.
NOT_TAKEN = {'k', 'key', 'target', 'momentum', 'moco', 'ema', 'student'}

# Pairs of the beginning of a name of ours and of theirs.
PLAIN = ()
# nn.Sequential(*list(resnet.children())[:-1]): conv1, bn1, relu, maxpool, four stages.
NUMBERED = (
    ('conv1', '0'),
    ('bn1', '1'),
    ('layer1', '4'),
    ('layer2', '5'),
    ('layer3', '6'),
    ('layer4', '7'),
)
# mmpretrain's ResNetV1c and V1d have one `stem`, timm's *c and *d a `conv1` without the last norm.
DEEP_STEM = (('stem.7', 'bn1'), ('stem', 'conv1'))
NAMINGS = (PLAIN, NUMBERED, DEEP_STEM)
# A released APViT is a classifier whose two halves stand beside the head.
APVIT_CLASSIFIER = (('backbone.extractor', 'extractor'), ('backbone.vit', 'vit'))

# What a name of ours begins with that a deeper network has more of.
STAGE = re.compile(r'(layer\w*|(extractor\.)?body\.\d+|vit\.blocks)\.')
UNIT = re.compile(r'(.*\b)?body\.(\d+)\.(\d+)\.')


@dataclass(frozen=True)
class Layout:
    """Where a framework puts an encoder.

    Args:
        name: As the table of an import calls it.
        path: Regular expression of the end of an encoder's path, whichever of two it is.
        marks: First words of other keys; one must be in the file. None: no matter.
        naming: The names of the tensors below the path.
    """

    name: str
    path: str
    marks: tuple[str, ...] = ()
    naming: tuple[tuple[str, str], ...] = PLAIN


# The first that fits is named.
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


# Blocks of the four stages, and whether they are bottlenecks (He et al. 2016, table 1).
DEPTHS = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}
BLOCK = re.compile(r'(?:^|\.)(?:layer([1-4])|([4-7]))\.(\d+)\.(conv|bn)(\d)\.')


def count_blocks(names: Iterable[str]) -> tuple[tuple[int, ...], bool]:
    """Blocks of the four stages that names of tensors speak of, and whether they are bottlenecks.

    >>> count_blocks(['layer1.0.conv1.weight', 'layer1.1.conv2.weight'])
    ((2, 0, 0, 0), False)
    """
    blocks, convs = {}, set()
    for stage, numbered, block, kind, number in (
        hit.groups() for hit in map(BLOCK.search, names) if hit
    ):
        blocks.setdefault(int(stage or int(numbered) - 3), set()).add(int(block))
        convs.add(kind + number)
    return tuple(len(blocks.get(stage, ())) for stage in range(1, 5)), 'conv3' in convs


def resnet_depth(names: Iterable[str]) -> int | None:
    """Depth of the ResNet whose tensors have these names; None if it is another network.

    The last stage may be left out, as by ``num_stages=3``.
    """
    counted, bottleneck = count_blocks(names)
    stages = 4 if counted[3] else 3  # of three, all depths differ
    return next(
        (
            depth
            for (blocks, deep), depth in DEPTHS.items()
            if (blocks[:stages], deep) == (counted[:stages], bottleneck)
        ),
        None,
    )


def path_of(key: str) -> str:
    """A key or a prefix without the words of wrappers and nests.

    >>> path_of('state_dict.module.encoder_q.')
    'encoder_q'
    """
    return '.'.join(w for w in key.split('.') if w and w not in WRAPPERS)


def followers(prefix: str) -> int:
    """How many words of a prefix mark the encoder that is not taken.

    >>> followers('state_dict.module.encoder_q.'), followers('ema_state_dict.momentum_encoder.')
    (0, 2)
    """
    return sum(bool(NOT_TAKEN.intersection(word.split('_'))) for word in prefix.split('.'))


def source_name(name: str, naming: tuple[tuple[str, str], ...]) -> str:
    """The name that a tensor of ours has in theirs.

    >>> source_name('layer1.0.conv1.weight', NUMBERED)
    '4.0.conv1.weight'
    """
    for ours, theirs in naming:
        if name.startswith(f'{ours}.'):
            return theirs + name[len(ours) :]
    return name


def flat_units(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """face.evoLVe's naming of an IR-50: its units are numbered through all stages.

    >>> flat_units(['body.0.0.res_layer.0.weight', 'body.0.1.w', 'body.1.0.w', 'conv1.weight'])
    (('body.0.0', 'body.0'), ('body.0.1', 'body.1'), ('body.1.0', 'body.2'))
    """
    units = {(hit[1] or '', int(hit[2]), int(hit[3])) for hit in map(UNIT.match, names) if hit}
    return tuple(
        (f'{start}body.{stage}.{unit}', f'{start}body.{number}')
        for number, (start, stage, unit) in enumerate(sorted(units))
    )


def stages_of(names: Iterable[str], naming: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Beginnings of their names for a stage, of which a deeper network has further blocks.

    >>> stages_of(['layer1.0.conv1.weight', 'conv1.weight'], NUMBERED)
    ('4.',)
    """
    stages = set()
    for name in names:
        stage = STAGE.match(name)
        if stage:
            words = source_name(name, naming).split('.')[: stage[0].count('.')]
            stages.add('.'.join(words) + '.')
    return tuple(stages)


def classifier_names(wanted: Collection[str], found: Collection[str]) -> dict[str, str]:
    """What the tensors of a whole classifier of the released code are called in ours.

    Args:
        wanted: Names of our classifier.
        found: Keys of the checkpoint.

    Returns:
        dict: Our name of each of their keys; empty where no other naming fits better than ours.

    >>> classifier_names(['backbone.vit.norm.weight', 'head.fc.bias'],
    ...                  ['vit.norm.weight', 'head.fc.bias'])
    {'vit.norm.weight': 'backbone.vit.norm.weight', 'head.fc.bias': 'head.fc.bias'}
    """
    best = {}, sum(name in found for name in wanted)
    for naming in (flat_units(wanted), APVIT_CLASSIFIER):
        names = {source_name(name, naming): name for name in wanted}
        held = {key: names[key] for key in found if key in names}
        if len(held) > best[1]:
            best = held, len(held)
    return best[0]


def name_layout(prefix: str, naming: tuple[tuple[str, str], ...], first_words: set[str]) -> str:
    """Which of :data:`LAYOUTS` an encoder's prefix belongs to.

    Args:
        prefix: Of the encoder.
        naming: Of the tensors below it.
        first_words: First words of the paths of all keys in the file.
    """
    if naming not in NAMINGS:  # made from the backbone's names by flat_units
        return "face.evoLVe's IR"
    path = '.'.join(word for word in path_of(prefix).split('.') if word not in AVERAGES)
    for layout in LAYOUTS:
        if layout.naming != naming or (layout.marks and not first_words & set(layout.marks)):
            continue
        if re.fullmatch(layout.path, path) or (
            layout.path and re.search(rf'\.({layout.path})$', path)
        ):
            return layout.name
    return f'not in our list, names under {path!r}'
