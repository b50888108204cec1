"""Infer the depth of a ResNet from the names of its tensors."""

import re
from collections.abc import Iterable

# Blocks of the four stages, and whether they are bottlenecks (He et al. 2016, table 1).
DEPTHS = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}
CONFIG_DEPTHS = (18, 50)  # depths that have configs
BLOCK = re.compile(r'(?:^|\.)(?:layer([1-4])|([4-7]))\.(\d+)\.(conv|bn)(\d)\.')


def count_blocks(names: Iterable[str]) -> tuple[tuple[int, ...], bool]:
    """Count the blocks of the four stages, and detect whether they are bottlenecks.

    >>> count_blocks(['layer1.0.conv1.weight', 'layer1.1.conv2.weight'])
    ((2, 0, 0, 0), False)
    """
    blocks: dict[int, set[int]] = {}
    convs = set()
    for hit in filter(None, map(BLOCK.search, names)):
        stage, numbered, block, kind, number = hit.groups()
        blocks.setdefault(int(stage or int(numbered) - 3), set()).add(int(block))
        convs.add(kind + number)
    return tuple(len(blocks.get(stage, ())) for stage in range(1, 5)), 'conv3' in convs


def find_resnet_depth(names: Iterable[str]) -> int | None:
    """Return the depth of the ResNet with these tensors, None if it is another network.

    The last stage may be missing, as with ``num_stages=3``.
    """
    counted, bottleneck = count_blocks(names)
    stages = 4 if counted[3] else 3  # three stages are enough to distinguish all depths
    for (blocks, is_deep), depth in DEPTHS.items():
        if (blocks[:stages], is_deep) == (counted[:stages], bottleneck):
            return depth
    return None


def explain_depth_mismatch(wanted: Iterable[str], found: Iterable[str]) -> str:
    """Explain that a checkpoint holds a ResNet of another depth; empty if it does not.

    Args:
        wanted: Names of the tensors of the model.
        found: Names of the tensors of one network in the checkpoint.
    """
    got, expected = find_resnet_depth(found), find_resnet_depth(wanted)
    if got is None or expected is None or got == expected:
        return ''
    config = f'configs/res{got}_...' if got in CONFIG_DEPTHS else f'model.backbone.depth={got}'
    return (
        f'the file holds a ResNet-{got}, the config builds a ResNet-{expected}; use {config}, or '
        f'weights of a ResNet-{expected}'
    )
