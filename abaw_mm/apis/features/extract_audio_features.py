"""Extract features of the sound of videos, one row per frame."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mmengine.device import get_device
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import print_log

from abaw_mm.apis.config import load_config, start_processes
from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.apis.features.clip_rows import SPLITS, check_loaders, find_rows
from abaw_mm.audio.align import RADIUS, align_to_frames, get_frame_times
from abaw_mm.audio.egemaps import Egemaps
from abaw_mm.audio.find_videos import find_videos
from abaw_mm.audio.log_mel import LogMel
from abaw_mm.audio.sound import has_sound, read_sound
from abaw_mm.audio.speech_model import SpeechModel
from abaw_mm.compat.cpu import end_process_group
from abaw_mm.datasets import FeatureFolder
from abaw_mm.datasets.features.feature_folder import CLIPS
from abaw_mm.engine.lock_run_folder import lock_run_folder
from abaw_mm.errors import DamagedVideoError, InvalidValueError, shorten
from abaw_mm.files import remove_drafts
from abaw_mm.progress import format_time_left
from abaw_mm.structures import FrameTable
from abaw_mm.video.decode import VideoReader

FEATURES = ('logmel', 'speech', 'egemaps')

Extractor = LogMel | SpeechModel | Egemaps


@end_process_group()
def extract_audio_features(
    videos: str | os.PathLike | Sequence[str | os.PathLike],
    out: str | os.PathLike,
    frames: str | os.PathLike | None = None,
    config: str | None = None,
    split: Sequence[str] = SPLITS,
    feature: str = 'logmel',
    checkpoint: str | os.PathLike | None = None,
    layers: int = 4,
    start_index: int = 1,
    device: str | None = None,
    work_dir: str | None = None,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> FeatureFolder:
    """Write features of the sound around every frame, as ``tools/extract_audio_features.py`` does.

    The clips and their frame numbers are those of a folder of features or of a config's crops, so
    that both streams have the same frames. Frame i of a clip is frame i of its video. Its features
    are the mean over half a second on either side, by the time stamps of both streams.

    Clips without a video, and those whose video has no sound, are stored without frames, which
    masks the stream there. The file of a clip is written when its video is done; the same call
    continues an interrupted run. Several processes share the videos.

    Args:
        videos: Folder of the videos, or several; ``video45_left`` is in ``video45.mp4``.
        out: Folder for the features, see :class:`FeatureFolder`.
        frames: Folder of features whose clips and frame numbers to use.
        config (str, optional): Path of a config whose crops to use instead.
        split (Sequence[str]): Data loaders of the config.
        feature (str): ``'logmel'``; ``'speech'`` for wav2vec 2.0, HuBERT or WavLM; ``'egemaps'``.
        checkpoint: Folder of the speech model, see :class:`SpeechModel`.
        layers (int): Number of last layers of the speech model to average.
        start_index (int): Number of the first frame of a video.
        device (str, optional): Where to compute the speech model. Defaults to a GPU, if there is
            one.
        work_dir (str, optional): Folder for the log, see :func:`load_config`.
        cfg_options (dict, optional): Overrides of the config.
        launcher (str): ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Returns:
        FeatureFolder: The folder.

    Raises:
        ImportError: If a package is not installed.
        FileNotFoundError: If a folder or file does not exist.
        ValueError: If a setting is wrong, a video is damaged or does not fit the frame numbers, or
            ``out`` has other features.
        OSError: If another extraction uses the folder, or it cannot be written to.
    """
    folders = [videos] if isinstance(videos, (str, os.PathLike)) else list(videos)
    _check_arguments(frames, config, feature, checkpoint)
    start_processes(launcher)
    extract = _build_extractor(feature, checkpoint, layers, device)
    numbers = _find_frames(frames, config, split, work_dir, cfg_options, launcher)
    found = find_videos(numbers, folders)
    silent = {path for path in set(found.values()) if not has_sound(path)}
    source = {clip: path for clip, path in found.items() if path not in silent}
    meta = dict(
        config=extract.name,
        sha256=extract.sha256,
        layer=extract.layer,
        amp=False,
        dim=extract.dim,
        data_root=os.pathsep.join(os.path.realpath(os.path.expanduser(f)) for f in folders),
        pipeline=[dict(type=type(extract).__name__, **extract.meta)],
        data_preprocessor=dict(type='align_to_frames', radius=RADIUS, start_index=start_index),
    )
    with lock_run_folder(out, '--out'):
        folder = _open_folder(out, meta, numbers, source)
        _extract_videos(folder, _find_remaining(folder, source), extract, start_index)
        barrier()  # a process that exits early would abort those still writing
        _log_summary(folder, numbers, found, source)
        return folder


def _check_arguments(frames: object, config: object, feature: str, checkpoint: object) -> None:
    if (frames is None) == (config is None):
        raise InvalidValueError(
            'got both --frames and --config, or neither, expected the one that gives the clips and '
            'their frame numbers'
        )
    if feature not in FEATURES:
        raise InvalidValueError(
            f'--feature: got {feature!r}, expected one of {", ".join(FEATURES)}'
        )
    if (feature == 'speech') != (checkpoint is not None):
        raise InvalidValueError(
            f'--checkpoint: got {checkpoint!r} with --feature {feature}, expected the folder of a '
            'speech model with --feature speech, and none otherwise'
        )


def _build_extractor(
    feature: str, checkpoint: str | os.PathLike | None, layers: int, device: str | None
) -> Extractor:
    if checkpoint is not None:
        return SpeechModel(checkpoint, layers, device or get_device())
    return Egemaps() if feature == 'egemaps' else LogMel()


def _find_frames(
    frames: str | os.PathLike | None,
    config: str | None,
    split: Sequence[str],
    work_dir: str | None,
    cfg_options: dict | None,
    launcher: str,
) -> dict[str, np.ndarray]:
    """Return the frame numbers (F, ) of each clip."""
    if frames is not None:
        index = FeatureFolder.open(frames).index
        rows_of = dict(zip(index.clips, index.rows_by_clip(), strict=True))
        return {clip: index.frame_no[rows] for clip, rows in rows_of.items()}
    cfg = load_config(str(config), launcher, work_dir, cfg_options)
    check_loaders(cfg)
    with convert_config_errors(str(config)):
        rows = find_rows(cfg, split)
    return {
        clip: dataset.frames.frame_no[clip_rows.start : clip_rows.stop]
        for clip, (dataset, clip_rows) in rows.items()
    }


def _open_folder(
    out: str | os.PathLike,
    meta: Mapping,
    numbers: Mapping[str, np.ndarray],
    source: Mapping[str, Path],
) -> FeatureFolder:
    """Start or continue a folder and mask clips without sound on rank 0; open it on all ranks."""
    if get_dist_info()[0] == 0:
        remove_drafts(Path(out, CLIPS))
        folder = FeatureFolder.start(out, meta)
        remaining = folder.plan(
            FrameTable.from_clips({c: numbers[c] if c in source else [] for c in sorted(numbers)})
        )
        for clip in remaining:
            if clip not in source:
                folder.write(clip, np.empty((0, folder.dim), np.float32))
    barrier()
    return FeatureFolder.open(out)


def _find_remaining(folder: FeatureFolder, source: Mapping[str, Path]) -> dict[Path, list[str]]:
    """Return this rank's share of the videos of clips without features, and these clips."""
    clips: dict[Path, list[str]] = {}
    for clip in sorted(source, key=lambda clip: (source[clip], clip)):
        if not folder.has_features(clip):
            clips.setdefault(source[clip], []).append(clip)
    barrier()  # all ranks have looked before one of them writes
    rank, world_size = get_dist_info()
    return dict(list(clips.items())[rank::world_size])


def _extract_videos(
    folder: FeatureFolder, videos: Mapping[Path, list[str]], extract: Extractor, start_index: int
) -> None:
    """Extract the clips of videos, and log each video with the time left."""
    start = time.time()
    for done, (path, clips) in enumerate(videos.items(), 1):
        features, times = extract(read_sound(path))
        frame_times = _read_times(path)
        for clip in clips:
            try:
                wanted = get_frame_times(frame_times, folder.frame_numbers(clip), start_index)
            except InvalidValueError as error:
                raise InvalidValueError(f'{path} for clip {clip!r}: {error}') from error
            folder.write(clip, align_to_frames(features, times, wanted))
        left = format_time_left(time.time() - start, done, len(videos))
        print_log(
            f'{path.name}: {len(frame_times)} frames; video {done} of {len(videos)}, {left}',
            logger='current',
        )


def _read_times(path: Path) -> np.ndarray:
    """Return the times of a video's frames, (N, ), of those before the damage if it has any."""
    times: list[float] = []
    try:
        times.extend(VideoReader(path).read_times())
    except DamagedVideoError as error:  # its frames may be all that the clips need
        print_log(str(error), logger='current', level=logging.WARNING)
    return np.array(times)


def _log_summary(
    folder: FeatureFolder,
    numbers: Mapping[str, np.ndarray],
    found: Mapping[str, Path],
    source: Mapping[str, Path],
) -> None:
    line = (
        f'{folder.path}: {folder.dim} features per frame, '
        f'{sum(len(numbers[clip]) for clip in source)} frames of {len(source)} of {len(numbers)} '
        'clips'
    )
    for problem, clips in (
        ('a video', [clip for clip in numbers if clip not in found]),
        ('sound', [clip for clip in found if clip not in source]),
    ):
        if clips:
            line += f'; masked, without {problem}: {len(clips)} ({shorten(sorted(clips))})'
    print_log(line, logger='current')
