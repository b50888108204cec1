"""Check a download of Aff-Wild2: find its files, compare annotations with crops, decode crops."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from abaw_mm.datasets.crops.check_images import start_decoding
from abaw_mm.datasets.crops.crop_folder import CropFolder, list_crops
from abaw_mm.datasets.crops.packed_crops import open_crops
from abaw_mm.datasets.verify.findings import Finding
from abaw_mm.datasets.verify.judge import ClipReport, check_clip, judge, make_report
from abaw_mm.datasets.verify.read_download import (
    MULTI_TASK_FILES,
    SPLIT_FOLDERS,
    example_path,
    find_annotations,
    find_crops,
    read_annotations,
    read_list,
)
from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.structures import FrameTable


@dataclass(frozen=True)
class Download:
    """Files of a download.

    Attributes:
        root (Path): Data root.
        annotations (dict[str, Path]): Split to its folder of annotations.
        frames (Path, optional): The challenge's list of test frames.
        stores (list[CropFolder]): Folders and stores of crops.
        filename_tmpl (str): File name of a frame in the list.
        searched (bool): Whether ``annotations`` were found in the data root instead of given.
        task (str): Track.
    """

    root: Path
    annotations: dict[str, Path]
    frames: Path | None
    stores: list[CropFolder]
    filename_tmpl: str
    searched: bool
    task: str = 'expr'


def find_download(
    root: Path,
    ann_dirs: Sequence[Path] = (),
    frames: Path | None = None,
    crops: Sequence[Path] = (),
    filename_tmpl: str = '{:05d}.jpg',
    task: str = 'expr',
) -> Download:
    """Find the files of a download.

    Args:
        root (Path): Data root.
        ann_dirs (Sequence[Path]): Folders of annotations, relative to the data root or the current
            folder. Defaults to those of the latest edition in the data root.
        frames (Path, optional): The challenge's list of test frames, relative to the same folders.
        crops (Sequence[Path]): Folders and stores of crops, relative to the same folders. Defaults
            to those with official names in the data root.
        filename_tmpl (str): File name of a frame.
        task (str): Track. Defaults to ``'expr'``.

    Raises:
        FileNotFoundError: If a given path does not exist, or no annotations are found.
        ValueError: If two folders belong to one split, or a file is given instead of a folder.
    """
    if not root.is_dir():
        raise MissingFileError(f'{root}: no such folder, expected the data root of Aff-Wild2')
    given = [(_find_split(path), path) for path in (_locate(root, path) for path in ann_dirs)]
    annotations = dict(given) or find_annotations(root, task)
    if len(annotations) < len(given) or (frames and 'test' in annotations):
        raise InvalidValueError('--ann-dir: got two folders of one split, expected one per split')
    if not annotations and not frames:
        kind = 'file' if task == 'mtl' else 'folder'
        raise MissingFileError(
            f'{root}: got no {kind} of {task.upper()} annotations, expected '
            f'{example_path(task)}; name the folders with --ann-dir'
        )
    roots = [_locate(root, path) for path in crops] or find_crops(root)
    for path in (*(annotations.values() if task != 'mtl' else ()), *roots):
        if not path.is_dir():
            raise InvalidValueError(f'{path}: got a file, expected a folder')
    return Download(
        root,
        annotations,
        _locate(root, frames) if frames else None,
        [open_crops(path, filename_tmpl) for path in roots],
        filename_tmpl,
        searched=not given,
        task=task,
    )


def _locate(root: Path, path: Path) -> Path:
    """Resolve a path against the data root, then against the current folder."""
    for place in (root / path, path):
        if place.exists():
            return place
    raise MissingFileError(f'{path}: no such file or folder, nor in {root}; correct the path')


def _find_split(folder: Path) -> str:
    """Return the split of a folder of annotations, or its name if it is not an official one."""
    known = {
        name: split
        for names_of in (SPLIT_FOLDERS, MULTI_TASK_FILES)
        for split, names in names_of.items()
        for name in names
    }
    return known.get(folder.name, folder.name)


def check_download(
    download: Download,
    workers: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict:
    """Compare annotations with crops, and decode the crops on demand.

    Args:
        download (Download): Files of the download.
        workers (int): Processes that decode every crop of an annotated clip. 0, the default, does
            not decode.
        report (Callable): Called with the numbers of decoded and of all crops.

    Returns:
        dict: The report, see :func:`make_report`.
    """
    task = download.task
    read = [read_annotations(name, path, task) for name, path in download.annotations.items()]
    if download.frames:
        read.append(read_list('test', download.frames, download.filename_tmpl, task))
    splits = [split for split, _ in read]
    findings = [finding for _, found in read for finding in found]
    if download.searched and len(download.annotations) == 1:
        found_split = next(iter(download.annotations))
        text = f'only {found_split}, expected train and val'
        findings.append(Finding('no_split', text))

    listed = {clip for split in splits for clip in split.lines}
    on_disk = {clip for store in download.stores for clip in store.clips()}
    crops = list_crops(download.stores, sorted(listed | on_disk))
    rows = zip(crops.clips, crops.rows_by_clip(), strict=True)
    numbers = {clip: crops.frame_no[clip_rows] for clip, clip_rows in rows}
    # Clips with an unreadable annotation have a finding; their crops are not strays.
    known = listed | {finding.clip for finding in findings}
    strays = {clip: len(numbers[clip]) for clip in sorted(on_disk - known)}
    reports = [
        check_clip(split.name, clip, *lines, numbers[clip], task)
        for split in splits
        for clip, lines in split.lines.items()
    ]
    for clip_report in reports:
        if not clip_report.crops:
            found = (store.find_other_names(clip_report.clip) for store in download.stores)
            clip_report.other_name, clip_report.template = next(filter(None, found), ('', ''))
    if workers:
        _decode(download.stores, crops.select_clips(sorted(listed)), reports, workers, report)
    roots = [store.root for store in download.stores]
    findings = judge(splits, reports, strays, roots, findings)
    return make_report(
        str(download.root), splits, reports, strays, roots, findings, decoded=workers > 0
    )


def _decode(
    stores: list[CropFolder],
    crops: FrameTable,
    reports: list[ClipReport],
    workers: int,
    report: Callable[[int, int], None],
) -> None:
    """Fill in ``sizes`` and ``broken`` of the clips' reports."""
    by_clip: dict[str, list[ClipReport]] = {}
    for clip_report in reports:
        by_clip.setdefault(clip_report.clip, []).append(clip_report)
    done = 0
    with start_decoding(stores, crops, workers) as results:
        for clip, sizes, broken in (future.result() for future in results):
            for clip_report in by_clip[clip]:
                for size, number in sizes.items():
                    clip_report.sizes[size] = clip_report.sizes.get(size, 0) + number
                clip_report.broken.update(broken)
            done += sum(sizes.values()) + len(broken)
            report(done, len(crops))
    for clip_report in reports:  # results arrive in any order
        clip_report.sizes = dict(sorted(clip_report.sizes.items()))
        clip_report.broken = dict(sorted(clip_report.broken.items()))
