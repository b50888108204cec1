"""Is a download of Aff-Wild2 whole? The checks behind ``tools/misc/verify_affwild2.py``.

Lines of the annotations against crops on disk, as arrays; nothing here prints.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from abaw_mm.datasets.annotations import (
    EXPRESSIONS,
    UNLABELLED,
    find_annotation_files,
    raw_video,
    read_frame_list,
    read_labels,
)
from abaw_mm.errors import shorten

EDITIONS = (  # folders of the expression track, the latest edition of the challenge first
    'EXPR_Recognition_Challenge',
    'EXPR_Classification_Challenge',
    'EXPR_Set',
)
SPLIT_FOLDERS = {'train': ('Train_Set', 'Training_Set'), 'val': ('Validation_Set',)}
CROP_FOLDERS = ('cropped_aligned', 'cropped_aligned_new_50_vids')  # the second came later
BATCHES = ('', 'batch1', 'batch2')  # some copies of the archives keep these folders
HEADLINE_CONFIG = 'configs/res50_srp_affwild2.py'

# Counted over the official files: 1.5 to 1.7 % of the lines have no crop, for the detector failed;
# in the worst clip 27.5 %.
MANY_MISSING = 0.06  # of a split: four times what is normal
MANY_MISSING_IN_CLIP = 0.3
OFFICIAL_UNLABELLED = {'train': '46%', 'val': '37%'}  # of the lines

MAX_FILES = 3  # broken crops of a clip that its finding names
LEVELS = ('error', 'warning', 'note')  # worst first
# What a finding is called: how bad it is, and what to do about it.
KINDS = {
    'annotation': ('error', 'download the annotations of the expression track (EXPR) again'),
    'no_crops': ('error', 'unpack cropped_aligned, or name its folder with --crops'),
    'no_labels': ('error', 'give annotations and crops of the same edition'),
    'start_index': (
        'error',
        'take the official crops, which count from 1 (start_index=0 in the '
        'dataset is only for crops that you cut with numbers from 0)',
    ),
    'beyond': ('error', 'give annotations and crops of the same edition'),
    'broken_crop': ('error', 'unpack these crops again, or download them'),
    'no_split': ('warning', 'unpack the annotations of both splits, or name them with --ann-dir'),
    'no_clip_crops': ('warning', 'unpack cropped_aligned_new_50_vids too, or name it with --crops'),
    'missing': ('warning', 'unpack cropped_aligned again, it may have stopped half-way'),
    'beyond_list': ('warning', 'check that the list of frames is the one for these crops'),
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
    """Something to say.

    Attributes:
        kind (str): Key of ``KINDS``.
        text (str): What is there and what was expected.
        split (str | None): ``'train'``, ``'val'``, ``'test'`` or a folder's name.
        clip (str | None): The clip.
    """

    kind: str
    text: str
    split: str | None = None
    clip: str | None = None

    @property
    def level(self) -> str:
        """``'error'``, ``'warning'`` or ``'note'``."""
        return KINDS[self.kind][0]


@dataclass
class Split:
    """The lines of a split, as read.

    Attributes:
        name (str): ``'train'``, ``'val'``, ``'test'`` or a folder's name.
        path (str): Folder of annotations, or the challenge's list of frames.
        lines (dict): Clip to the frame numbers that its lines ask for (L, ) int32, rising, and
            their labels (L, ) int8, None if hidden.
        hidden (bool): The labels are not known: a list of frames.
    """

    name: str
    path: str
    lines: dict[str, tuple[np.ndarray, np.ndarray | None]] = field(default_factory=dict)
    hidden: bool = False


@dataclass
class ClipReport:
    """What a clip has. What is not known, such as hidden labels, is None."""

    split: str
    clip: str
    lines: int
    unlabelled: int | None
    crops: int
    missing: int  # lines without a crop
    gaps: int  # runs of them
    longest_gap: int
    beyond: int  # crops after the last line
    first: int | None  # frame numbers
    last: int | None
    per_class: list[int] | None  # frames with label and crop
    sizes: dict[str, int] = field(default_factory=dict)  # '112x112' to crops; only if decoded
    broken: dict[str, str] = field(default_factory=dict)  # path to reason; only if decoded


# ------------------------------------------------------------------------------- finding, reading


def find_annotations(root: Path) -> dict[str, Path]:
    """Split to its folder, of the latest edition that lies in ``root`` or a folder of it.

    Empty where there is none. ``root`` may also be the folder of one edition.
    """
    places = [
        root,
        *(
            path
            for edition in EDITIONS
            for path in (root / edition, *sorted(root.glob(f'*/{edition}')))
        ),
    ]
    for place in places:
        found = {
            split: place / name
            for split, names in SPLIT_FOLDERS.items()
            for name in names
            if (place / name).is_dir()
        }
        if found:
            return found
    return {}


def find_crops(root: Path) -> list[Path]:
    """Folders of crops in ``root``, by their official names."""
    places = [root / batch / name for batch in BATCHES for name in CROP_FOLDERS]
    return [place for place in places if place.is_dir()]


def read_annotations(name: str, folder: Path) -> tuple[Split, list[Finding]]:
    """Read what can be read of a folder of annotations; a finding for every file that cannot."""
    split, findings = Split(name, str(folder)), []
    try:
        files = find_annotation_files(folder)
    except FileNotFoundError as error:
        return split, [Finding('annotation', str(error), name)]
    for clip, path in files.items():
        try:
            labels = read_labels(path)
        except (ValueError, OSError) as error:
            findings.append(Finding('annotation', str(error), name, clip))
        else:
            split.lines[clip] = np.arange(1, len(labels) + 1, dtype=np.int32), labels
    return split, findings


def read_list(name: str, path: Path, filename_tmpl: str) -> tuple[Split, list[Finding]]:
    """Read the challenge's list of frames; a finding if it cannot be read."""
    split = Split(name, str(path), hidden=True)
    try:
        listed = read_frame_list(path, filename_tmpl).sort()
    except (ValueError, OSError) as error:
        return split, [Finding('annotation', str(error), name)]
    for clip, rows in zip(listed.clips, listed.rows_by_clip(), strict=True):
        split.lines[clip] = listed.frame_no[rows], None
    return split, []


# -------------------------------------------------------------------------------------- judging


def check_clip(
    split: str, clip: str, frame_no: np.ndarray, label: np.ndarray | None, crops: np.ndarray
) -> ClipReport:
    """Count a clip's lines against its crops.

    Args:
        split, clip: Names.
        frame_no: (L, ) rising, the crop that each line belongs to.
        label: (L, ) of each line, None if hidden.
        crops: (F, ) rising, numbers of the crops on disk.
    """
    gone = ~np.isin(frame_no, crops)
    edges = np.diff(np.concatenate([[0], gone, [0]]).astype(np.int8))
    lengths = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    unlabelled = per_class = None
    if label is not None:
        unlabelled = int(np.count_nonzero(label == UNLABELLED))
        usable = label[~gone & (label != UNLABELLED)]
        per_class = np.bincount(usable, minlength=len(EXPRESSIONS)).tolist()
    return ClipReport(
        split,
        clip,
        lines=len(frame_no),
        unlabelled=unlabelled,
        crops=len(crops),
        missing=int(gone.sum()),
        gaps=len(lengths),
        longest_gap=int(lengths.max(initial=0)),
        beyond=int(np.count_nonzero(crops > frame_no[-1])),
        first=int(crops[0]) if len(crops) else None,
        last=int(crops[-1]) if len(crops) else None,
        per_class=per_class,
    )


def judge_clip(report: ClipReport, hidden: bool = False, usual_size: str = '') -> list[Finding]:
    """What to say of a clip; ``usual_size`` is the size of most crops of all clips."""
    r, found = report, {}
    if not r.crops:
        found['no_clip_crops'] = f'no crop for {r.lines} lines'
    elif r.missing > MANY_MISSING_IN_CLIP * r.lines:
        found['missing'] = (
            f'no crop for {r.missing} of {r.lines} lines ({r.missing / r.lines:.1%}), expected at '
            f'most {MANY_MISSING_IN_CLIP:.0%} (27.5% in the worst official clip)'
        )
    if r.first == 0:
        found['start_index'] = 'a crop numbered 0, expected numbers from 1: labels would be shifted'
    if r.beyond:
        found['beyond_list' if hidden else 'beyond'] = (
            f'crops after the last line: {r.beyond}, up to number {r.last} for {r.lines} lines; '
            'official crops never go beyond'
        )
    if r.broken:
        few = [f'{path}: {reason}' for path, reason in r.broken.items()][:MAX_FILES]
        more = f' and {len(r.broken) - len(few)} more' if len(r.broken) > len(few) else ''
        found['broken_crop'] = f'{len(r.broken)} of {r.crops} broken: {"; ".join(few)}{more}'
    others = {size: number for size, number in r.sizes.items() if size != usual_size}
    if others:
        got = ', '.join(f'{number} of {size}' for size, number in sorted(others.items()))
        found['size'] = f'crops of another size, {got}, expected {usual_size} as most are'
    return [Finding(kind, text, r.split, r.clip) for kind, text in found.items()]


def sum_clips(split: Split, reports: Sequence[ClipReport]) -> dict:
    """Totals of a split; keys as in :func:`make_report`."""
    total = dict(
        split=split.name,
        path=split.path,
        hidden=split.hidden,
        clips=len(reports),
        **{
            key: sum(getattr(r, key) for r in reports)
            for key in ('lines', 'crops', 'missing', 'gaps')
        },
        unlabelled=None,
        labelled_with_crop=None,
        per_class=None,
    )
    if not split.hidden:
        per_class = [r.per_class for r in reports] or [[0] * len(EXPRESSIONS)]
        total['unlabelled'] = sum(r.unlabelled for r in reports)
        total['per_class'] = np.sum(per_class, axis=0).tolist()
        total['labelled_with_crop'] = sum(total['per_class'])
    return total


def judge_split(total: dict) -> list[Finding]:
    """What to say of a split's totals."""
    name, lines, found = total['split'], total['lines'], {}
    if not lines:
        return []  # nothing could be read, which has findings of its own
    text = (
        f'no crop for {total["missing"]} of {lines} lines ({total["missing"] / lines:.1%}; '
        'official 1.5% to 1.7%, where the detector failed)'
    )
    found['missing' if total['missing'] > MANY_MISSING * lines else 'gaps'] = text
    if not total['crops']:
        found = {'no_crops': f'no crop for any of {total["clips"]} clips (<clip>/00001.jpg)'}
    if total['hidden']:
        return [Finding(kind, text, name) for kind, text in found.items()]
    normal = f'; official {OFFICIAL_UNLABELLED[name]}' if name in OFFICIAL_UNLABELLED else ''
    share = total['unlabelled'] / lines
    found['unlabelled'] = f'{total["unlabelled"]} of {lines} lines are -1 ({share:.1%}{normal})'
    absent = [e for e, n in zip(EXPRESSIONS, total['per_class'], strict=True) if not n]
    if total['crops'] and not total['labelled_with_crop']:
        found['no_labels'] = 'no frame has both a label and a crop, expected at least one'
    elif total['crops'] and absent:
        found['absent_class'] = f'no frame of {shorten(absent)} (the first edition has no Other)'
    return [Finding(kind, text, name) for kind, text in found.items()]


def videos_on_both_sides(splits: Sequence[Split]) -> list[Finding]:
    """Raw videos with clips in several splits, such as ``video2`` and ``video2_left``."""
    sides: dict[str, dict[str, list[str]]] = {}
    for split in splits:
        for clip in split.lines:
            sides.setdefault(raw_video(clip), {}).setdefault(split.name, []).append(clip)
    return [
        Finding(
            'both_sides',
            f'the raw video {video!r} is in '
            + ' and in '.join(f'{name} ({shorten(clips)})' for name, clips in by_split.items())
            + '; the official split has such videos',
        )
        for video, by_split in sorted(sides.items())
        if len(by_split) > 1
    ]


def judge(
    splits: Sequence[Split],
    reports: Sequence[ClipReport],
    strays: dict[str, int],
    roots: Sequence[str],
    findings: Sequence[Finding] = (),
) -> list[Finding]:
    """All that is to be said of what was read and counted, the worst first.

    Args:
        splits: What was read.
        reports: Of every clip of these.
        strays: Folder of crops of no clip, to its number of crops.
        roots: Folders of the crops.
        findings: What was found in reading.
    """
    sizes = sum((Counter(r.sizes) for r in reports), Counter())
    usual = sizes.most_common(1)[0][0] if sizes else ''
    findings = [*findings, *videos_on_both_sides(splits)]
    for split in splits:
        own = [r for r in reports if r.split == split.name]
        total = judge_split(sum_clips(split, own))
        findings += total
        for report in own:
            findings += judge_clip(report, split.hidden, usual)
        if any(f.kind == 'no_crops' for f in total):  # said once, not once a clip
            findings = [f for f in findings if (f.kind, f.split) != ('no_clip_crops', split.name)]
    if strays:
        # The archive also holds the test set and the other tracks: only beside clips that lack
        # their crops may a stray folder be one of them under another name.
        lacking = any(f.kind in ('no_clip_crops', 'no_crops') for f in findings)
        findings.append(
            Finding(
                'stray_unmatched' if lacking else 'stray',
                f'folders of crops of no clip here: {len(strays)} ({shorten(list(strays))}); '
                'official archives also hold the clips of the test set and of other tracks',
            )
        )
    if sizes:
        counts = ', '.join(f'{number} of {size}' for size, number in sizes.most_common())
        findings.append(Finding('sizes', f'crops by size: {counts}; official 112x112'))
    if len(roots) > 1:
        findings.append(Finding('roots', f'crops lie in {len(roots)} folders ({shorten(roots)})'))
    return sorted(findings, key=lambda f: LEVELS.index(f.level))


def verdict(findings: Sequence[Finding], decoded: bool) -> str:
    """One sentence that says what to do next."""
    train = (
        f'train with python tools/train.py {HEADLINE_CONFIG}, which reads data/affwild2: link the '
        'data there, or set data_root'
    )
    hint = '' if decoded else ' (pixels were not read, --decode does)'
    for level in ('error', 'warning'):
        graded = [f for f in findings if f.level == level]
        if not graded:
            continue
        todo = []
        for kind in dict.fromkeys(f.kind for f in graded):
            clips = [f.clip for f in graded if f.kind == kind and f.clip]
            plural = 's' if len(clips) > 1 else ''
            where = f', for {len(clips)} clip{plural} ({shorten(clips)})' if clips else ''
            todo.append(KINDS[kind][1] + where)
        count = f'{len(graded)} {level}{"s" if len(graded) > 1 else ""}'
        if level == 'error':
            return f'{count}: {"; ".join(todo)}; then run this again.'
        return f'Usable with {count}: {"; ".join(todo)}; then {train}{hint}.'
    return f'Healthy: {train}{hint}.'


def make_report(
    root: str,
    splits: Sequence[Split],
    reports: Sequence[ClipReport],
    strays: dict[str, int],
    roots: Sequence[str],
    findings: Sequence[Finding],
    decoded: bool,
) -> dict:
    """All of it as plain data, which the table is drawn from.

    Returns:
        dict: ``data_root`` (str); ``crops`` (list of folders); ``decoded`` (bool);

        - ``splits``: list of ``split, path, hidden`` (labels are), ``clips, lines, crops,
          missing`` (lines without a crop), ``gaps`` (runs of these), and, None if hidden,
          ``unlabelled`` (-1), ``labelled_with_crop``, ``per_class`` (in the order of ``classes``);
        - ``classes``: names of the classes;
        - ``clips``: list of the fields of :class:`ClipReport`;
        - ``strays``: folder of crops that belongs to no clip, to its number of crops;
        - ``findings``: list of ``level, kind, text, fix, split, clip`` (the last two or None);
        - ``verdict`` (str); ``status`` (int): the exit status, 1 with an error, else 0.
    """
    return dict(
        data_root=root,
        crops=list(roots),
        decoded=decoded,
        classes=list(EXPRESSIONS),
        splits=[sum_clips(s, [r for r in reports if r.split == s.name]) for s in splits],
        clips=[asdict(r) for r in reports],
        strays=strays,
        findings=[dict(level=f.level, fix=KINDS[f.kind][1], **asdict(f)) for f in findings],
        verdict=verdict(findings, decoded),
        status=int(any(f.level == 'error' for f in findings)),
    )
