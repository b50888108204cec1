"""Findings about a download of Aff-Wild2: kinds, levels and fixes."""

from dataclasses import dataclass

LEVELS = ('error', 'warning', 'note')  # worst first
# Kind of a finding to its level and its fix.
KINDS = {
    'annotation': ('error', 'download the annotations again, or give the --task they are of'),
    'no_crops': ('error', 'unpack cropped_aligned, or name its folder with --crops'),
    'names': (
        'error',
        'give the --filename-tmpl that is named above, and set filename_tmpl of all datasets of '
        'the config to it',
    ),
    'other_names': (
        'error',
        'rename these crops to the names of --filename-tmpl, 00001.jpg by default',
    ),
    'no_labels': ('error', 'use annotations and crops of the same edition'),
    'start_index': (
        'error',
        'use the official crops, which count from 1 (start_index=0 of the dataset is only for '
        'crops that you numbered from 0)',
    ),
    'beyond': ('error', 'use annotations and crops of the same edition'),
    'broken_crop': ('error', 'unpack these crops again, or download them'),
    'no_split': ('warning', 'unpack the annotations of both splits, or name them with --ann-dir'),
    'no_clip_crops': ('warning', 'unpack cropped_aligned_new_50_vids too, or name it with --crops'),
    'missing': ('warning', 'unpack cropped_aligned again, it may be incomplete'),
    'beyond_list': ('warning', 'check that the list of frames belongs to these crops'),
    'stray_unmatched': ('warning', 'check the names of the folders of crops'),
    'both_sides': ('warning', 'group folds by the name without _left or _right'),
    'absent_class': ('warning', 'expect no F1 of that class'),
    'size': ('warning', 'unpack these crops again, the official ones are all 112x112'),
    'roots': ('note', 'name all folders in data_prefix=dict(img_path=[...])'),
    'stray': ('note', 'nothing to do'),
    'gaps': ('note', 'nothing to do'),
    'unlabelled': ('note', 'nothing to do'),
    'sizes': ('note', 'nothing to do'),
}


@dataclass(frozen=True)
class Finding:
    """One fact about a download that the user should know.

    Attributes:
        kind (str): Key of ``KINDS``.
        text (str): What was found and what was expected.
        split (str | None): ``'train'``, ``'val'``, ``'test'`` or the name of a folder.
        clip (str | None): Name of the clip.
    """

    kind: str
    text: str
    split: str | None = None
    clip: str | None = None

    @property
    def level(self) -> str:
        """``'error'``, ``'warning'`` or ``'note'``."""
        return KINDS[self.kind][0]
