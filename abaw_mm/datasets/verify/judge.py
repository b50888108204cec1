"""Compare annotation lines with crops, and derive findings and a verdict."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from abaw_mm.datasets.annotations import raw_video
from abaw_mm.datasets.folds import QUADRANTS, find_quadrants
from abaw_mm.datasets.verify.findings import KINDS, LEVELS, Finding
from abaw_mm.datasets.verify.read_download import Split
from abaw_mm.errors import shorten
from abaw_mm.structures import FrameTable
from abaw_mm.structures.tasks import ACTION_UNITS, EXPRESSIONS, get_targets

HEADLINE_CONFIG = 'configs/res50_srp_affwild2.py'
# Counted in the official files: 1.5 to 1.7 % of the lines have no crop because the face detector
# failed; 27.5 % in the worst clip.
MANY_MISSING = 0.06  # share of a split's lines: four times the official one
MANY_MISSING_IN_CLIP = 0.3
OFFICIAL_UNLABELLED = {'train': '46%', 'val': '37%'}  # share of the lines
MAX_FILES = 3  # broken crops of a clip that its finding names


@dataclass
class ClipReport:
    """Counts of a clip. Unknown values, such as those of hidden labels, are None."""

    split: str
    clip: str
    lines: int
    unlabelled: int | None
    crops: int
    missing: int  # lines without a crop
    gaps: int  # runs of such lines
    longest_gap: int
    beyond: int  # crops after the last line
    first: int | None  # frame numbers
    last: int | None
    per_class: list[int] | None  # frames with label and crop
    labelled_with_crop: int | None
    sizes: dict[str, int] = field(default_factory=dict)  # '112x112' to crops; only if decoded
    broken: dict[str, str] = field(default_factory=dict)  # path to reason; only if decoded
    other_name: str = ''  # a file of a clip without crops, if its images have another template
    template: str = ''  # which they have


CLASSES = {  # what the frames of each track are counted by
    'expr': EXPRESSIONS,
    'va': QUADRANTS,
    'au': ACTION_UNITS,
    'mtl': (*QUADRANTS, *EXPRESSIONS, *ACTION_UNITS),
}


def count_frames(frames: FrameTable, task: str) -> list[int]:
    """Count frames by ``CLASSES``: a frame counts for its expression and each present unit.

    >>> count_frames(FrameTable.from_rows(['a'], [1], va=np.array([[0.5, -0.5]])), 'va')
    [0, 0, 1, 0]
    """
    counts: list[int] = []
    for target in get_targets(task):
        values = frames[target.column]
        if target.column == 'au':
            known = values[target.is_annotated(values)]
            counts += (known == 1).sum(axis=0).tolist()
            continue
        classes, number = values, len(target.names)
        if target.column == 'va':
            classes, number = find_quadrants(values), len(QUADRANTS)
        counts += np.bincount(classes[classes >= 0], minlength=number).tolist()
    return counts


def check_clip(
    split: str,
    clip: str,
    frame_no: np.ndarray,
    targets: FrameTable | None,
    crops: np.ndarray,
    task: str = 'expr',
) -> ClipReport:
    """Compare a clip's lines with its crops.

    Args:
        split (str): Name of the split.
        clip (str): Name of the clip.
        frame_no (ndarray): (L, ) frame number of each line, increasing.
        targets (FrameTable, optional): Annotations of the L lines; None if hidden.
        crops (ndarray): (F, ) frame numbers of the crops on disk, increasing.
        task (str): Track. Defaults to ``'expr'``.
    """
    is_missing = ~np.isin(frame_no, crops)
    edges = np.diff(np.concatenate([[0], is_missing, [0]]).astype(np.int8))
    lengths = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    unlabelled = per_class = usable_lines = None
    if targets is not None:
        known = np.any(
            [target.is_annotated(targets[target.column]) for target in get_targets(task)], axis=0
        )
        unlabelled = int(np.count_nonzero(~known))
        usable_lines = int(np.count_nonzero(known & ~is_missing))
        per_class = count_frames(targets.take(known & ~is_missing), task)
    return ClipReport(
        split,
        clip,
        lines=len(frame_no),
        unlabelled=unlabelled,
        crops=len(crops),
        missing=int(is_missing.sum()),
        gaps=len(lengths),
        longest_gap=int(lengths.max(initial=0)),
        # The multi-task track annotates only some frames of a clip.
        beyond=0 if task == 'mtl' else int(np.count_nonzero(crops > frame_no[-1])),
        first=int(crops[0]) if len(crops) else None,
        last=int(crops[-1]) if len(crops) else None,
        per_class=per_class,
        labelled_with_crop=usable_lines,
    )


def judge_clip(report: ClipReport, hidden: bool = False, usual_size: str = '') -> list[Finding]:
    """Return the findings about a clip.

    Args:
        report (ClipReport): Counts of the clip.
        hidden (bool): Whether labels are hidden. Defaults to False.
        usual_size (str): Size of most crops of all clips, such as ``'112x112'``.
    """
    r, found = report, {}
    if not r.crops and r.template:
        found['other_names'] = f'crops are named such as {r.other_name}, expected 00001.jpg'
    elif not r.crops:
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
            f'{r.beyond} crops after the last line, up to number {r.last} for {r.lines} lines; '
            'official crops have none'
        )
    if r.broken:
        few = [f'{path}: {reason}' for path, reason in r.broken.items()][:MAX_FILES]
        more = f' and {len(r.broken) - len(few)} more' if len(r.broken) > len(few) else ''
        found['broken_crop'] = f'{len(r.broken)} of {r.crops} broken: {"; ".join(few)}{more}'
    others = {size: number for size, number in r.sizes.items() if size != usual_size}
    if others:
        got = ', '.join(f'{number} of {size}' for size, number in sorted(others.items()))
        found['size'] = f'crops of another size, {got}, expected {usual_size} like most crops'
    return [Finding(kind, text, r.split, r.clip) for kind, text in found.items()]


def sum_clips(split: Split, reports: Sequence[ClipReport]) -> dict:
    """Return the totals of a split; keys as in :func:`make_report`."""
    keys = ('lines', 'crops', 'missing', 'gaps')
    total = dict(
        split=split.name,
        path=split.path,
        hidden=split.hidden,
        clips=len(reports),
        **{key: sum(getattr(r, key) for r in reports) for key in keys},
        unlabelled=None,
        labelled_with_crop=None,
        per_class=None,
    )
    if not split.hidden:
        per_class = np.zeros(len(CLASSES[split.task]), np.int64)
        for r in reports:
            per_class += np.array(r.per_class, np.int64)
        total['unlabelled'] = sum(r.unlabelled or 0 for r in reports)
        total['per_class'] = per_class.tolist()
        total['labelled_with_crop'] = sum(r.labelled_with_crop or 0 for r in reports)
    return total


def judge_split(total: dict, task: str = 'expr') -> list[Finding]:
    """Return the findings about a split's totals."""
    name, lines, found = total['split'], total['lines'], {}
    if not lines:
        return []  # no file could be read, which has findings of its own
    text = (
        f'no crop for {total["missing"]} of {lines} lines ({total["missing"] / lines:.1%}; '
        'official 1.5% to 1.7%, where the detector failed)'
    )
    found['missing' if total['missing'] > MANY_MISSING * lines else 'gaps'] = text
    if not total['crops']:
        found = {'no_crops': f'no crop for any of {total["clips"]} clips (<clip>/00001.jpg)'}
    if total['hidden']:
        return [Finding(kind, text, name) for kind, text in found.items()]
    is_expr = task == 'expr'
    known = is_expr and name in OFFICIAL_UNLABELLED
    official = f'; official {OFFICIAL_UNLABELLED[name]}' if known else ''
    share = total['unlabelled'] / lines
    what = 'are -1' if is_expr else 'are not annotated'
    found['unlabelled'] = f'{total["unlabelled"]} of {lines} lines {what} ({share:.1%}{official})'
    absent = [e for e, n in zip(CLASSES[task], total['per_class'], strict=True) if not n]
    if total['crops'] and not total['labelled_with_crop']:
        found['no_labels'] = 'no frame has both a label and a crop, expected at least one'
    elif total['crops'] and absent:
        note = ' (the first edition has no Other)' if is_expr else ''
        found['absent_class'] = f'no frame of {shorten(absent)}{note}'
    return [Finding(kind, text, name) for kind, text in found.items()]


def find_shared_videos(splits: Sequence[Split]) -> list[Finding]:
    """Find raw videos with clips in several splits, such as ``video2`` and ``video2_left``."""
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
    """Return all findings, worst first.

    Args:
        splits (Sequence[Split]): What was read.
        reports (Sequence[ClipReport]): Counts of all clips of the splits.
        strays (dict[str, int]): Number of crops in each folder that belongs to no clip.
        roots (Sequence[str]): Folders of the crops.
        findings (Sequence[Finding]): Findings from reading the files.
    """
    sizes = sum((Counter(r.sizes) for r in reports), Counter())
    usual_size = sizes.most_common(1)[0][0] if sizes else ''
    found = [*findings, *find_shared_videos(splits)]
    for split in splits:
        found += _judge_clips_and_split(split, reports, usual_size)
    if strays:
        # Archives also hold the test set and other tracks. A stray folder may be a clip under
        # another name only if a clip lacks its crops.
        is_lacking = any(f.kind in ('no_clip_crops', 'no_crops') for f in found)
        found.append(
            Finding(
                'stray_unmatched' if is_lacking else 'stray',
                f'folders of crops of no clip here: {len(strays)} ({shorten(list(strays))}); '
                'official archives also hold the clips of the test set and of other tracks',
            )
        )
    if sizes:
        counts = ', '.join(f'{number} of {size}' for size, number in sizes.most_common())
        found.append(Finding('sizes', f'crops by size: {counts}; official 112x112'))
    if len(roots) > 1:
        found.append(Finding('roots', f'crops are in {len(roots)} folders ({shorten(roots)})'))
    return sorted(found, key=lambda f: LEVELS.index(f.level))


def _judge_clips_and_split(
    split: Split, reports: Sequence[ClipReport], usual_size: str
) -> list[Finding]:
    own = [r for r in reports if r.split == split.name]
    named = [r for r in own if r.template]
    if len({r.template for r in named}) == 1 and not any(r.crops for r in own):
        template = repr(named[0].template)
        text = (
            f'crops are named such as {named[0].clip}/{named[0].other_name}: --filename-tmpl '
            f'{template} here, filename_tmpl={template} of the datasets'
        )
        return [Finding('names', text, split.name)]
    of_split = judge_split(sum_clips(split, own), split.task)
    of_clips = [f for r in own for f in judge_clip(r, split.hidden, usual_size)]
    if any(f.kind == 'no_crops' for f in of_split):  # one finding instead of one per clip
        of_clips = [f for f in of_clips if f.kind != 'no_clip_crops']
    return of_split + of_clips


def give_verdict(findings: Sequence[Finding], decoded: bool) -> str:
    """Return one sentence that says what to do next."""
    train = (
        f'train with python tools/train.py {HEADLINE_CONFIG}, which reads data/affwild2: link the '
        'data there, or set data_root of all datasets'
    )
    hint = '' if decoded else ' (pixels were not read, --decode does)'
    for level in ('error', 'warning'):
        graded = [f for f in findings if f.level == level]
        if not graded:
            continue
        fixes = []
        for kind in dict.fromkeys(f.kind for f in graded):
            clips = [f.clip for f in graded if f.kind == kind and f.clip]
            plural = 's' if len(clips) > 1 else ''
            where = f', for {len(clips)} clip{plural} ({shorten(clips)})' if clips else ''
            fixes.append(KINDS[kind][1] + where)
        count = f'{len(graded)} {level}{"s" if len(graded) > 1 else ""}'
        if level == 'error':
            return f'{count}: {"; ".join(fixes)}; then run this again.'
        return f'Usable with {count}: {"; ".join(fixes)}; then {train}{hint}.'
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
    """Collect totals, counts and findings in one dict of JSON types.

    Returns:
        dict: ``data_root`` (str); ``crops`` (list of folders); ``decoded`` (bool);

        - ``splits``: list of ``split, path, hidden`` (labels are), ``clips, lines, crops,
          missing`` (lines without a crop), ``gaps`` (runs of these), and, None if hidden,
          ``unlabelled`` (-1), ``labelled_with_crop``, ``per_class`` (in the order of ``classes``)
        - ``classes``: names of the classes
        - ``clips``: list of the fields of :class:`ClipReport`
        - ``strays``: number of crops in each folder that belongs to no clip
        - ``findings``: list of ``level, kind, text, fix, split, clip`` (the last two may be None)
        - ``verdict`` (str); ``status`` (int): exit status, 1 if there is an error, else 0
    """
    return dict(
        data_root=root,
        crops=list(roots),
        decoded=decoded,
        classes=list(CLASSES[splits[0].task if splits else 'expr']),
        splits=[sum_clips(s, [r for r in reports if r.split == s.name]) for s in splits],
        clips=[asdict(r) for r in reports],
        strays=strays,
        findings=[dict(level=f.level, fix=KINDS[f.kind][1], **asdict(f)) for f in findings],
        verdict=give_verdict(findings, decoded),
        status=int(any(f.level == 'error' for f in findings)),
    )
