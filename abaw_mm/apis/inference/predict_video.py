"""Predict the expressions of videos and write them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from abaw_mm.apis.inference.video_inferencer import BATCH, VideoExpressionInferencer
from abaw_mm.apis.inference.video_result import VideoResult
from abaw_mm.apis.inference.write_video_result import NOTHING, Outputs, write_video_result
from abaw_mm.errors import InvalidValueError, shorten, shorten_text
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.files import check_folder
from abaw_mm.structures import MAX_NAME, check_clip_names
from abaw_mm.video.decode import VideoReader
from abaw_mm.video.face_template import ARCFACE, read_template
from abaw_mm.video.track.face_tracks import FaceTracks
from abaw_mm.video.track.tracks_file import read_tracks

LONGEST_ENDING = '_right'  # of the name of a person, after that of the video
MAX_BATCH = 4096  # faces; more wait for pictures that fill the memory


def predict_video(
    config: str,
    checkpoint: str | None,
    videos: Sequence[str],
    out: str,
    outputs: Outputs = NOTHING,
    faces: str = 'all',
    smoothing: Postprocess | None = None,
    start: float | None = None,
    end: float | None = None,
    template: str | None = None,
    device: str | None = None,
    batch_size: int = BATCH,
    cfg_options: dict | None = None,
    onnx: str | None = None,
    **detection: Any,
) -> list[VideoResult]:
    """Predict the expressions of videos and write them, as ``tools/predict_video.py`` does.

    If ``<out>/<stem>_tracks.json`` exists, its faces are used and none are searched.

    Args:
        config (str): Path of the config of a classifier of frames.
        checkpoint (str, optional): Path or URL of its checkpoint.
        videos (Sequence[str]): Paths of videos, whose names without suffix differ.
        out (str): Folder for the files, see :func:`write_video_result`.
        outputs (Outputs): What is written besides table, predictions and tracks.
        faces (str): ``'all'`` or ``'largest'``, see :meth:`VideoExpressionInferencer.forward`.
        smoothing (Postprocess, optional): Smoothing of the probabilities of each person.
        start (float, optional): Leave out frames before this time, in seconds.
        end (float, optional): Leave out frames from this time on, in seconds.
        template (str, optional): File of the template of the crops, see :func:`read_template`.
            Defaults to ArcFace's.
        device (str, optional): Device, such as ``'cuda:0'``. Defaults to CUDA if available.
        batch_size (int): Number of faces that are scored together. Defaults to 16.
        cfg_options (dict, optional): Overrides of the config.
        onnx (str, optional): Exported network instead of the checkpoint.
        **detection: ``detector``, ``min_face`` and ``detect_every`` of
            :class:`VideoExpressionInferencer`.

    Returns:
        list[VideoResult]: Results of the videos.

    Raises:
        MissingFileError: If the config, the checkpoint or a video does not exist.
        InvalidValueError: If an argument is out of range, or a video is damaged, has no frame
            between ``start`` and ``end``, or persons with the names of those of another one. What
            was read before the damage, and the other videos, are written first.
        KeyboardInterrupt: If Ctrl-C ended a video early. What was read until then is written first.
    """
    _check_arguments(videos, batch_size)
    folder = Path(out)
    check_folder(folder, '--out')
    readers = [VideoReader(video, start, end) for video in videos]  # errors before the first result
    recorded = {
        reader.path: read_tracks(path)
        for reader in readers
        if (path := _name_tracks(folder, reader)).exists()
    }
    _check_detection(recorded, detection, folder)
    points = ARCFACE if template is None else read_template(template)
    inferencer = VideoExpressionInferencer(
        config,
        checkpoint,
        device=device,
        onnx=onnx,
        template=points,
        cfg_options=cfg_options,
        **detection,
    )
    results, errors, persons = [], [], set[str]()
    for reader in readers:
        tracks = recorded.get(reader.path)
        if tracks is not None:
            print_log(
                f'{reader.path}: using the faces of {_name_tracks(folder, reader)}',
                logger='current',
            )
        try:
            (result,) = inferencer.forward((reader, batch_size), tracks, faces, smoothing)
            if outputs.crops:
                _check_persons(result, persons)
        except InvalidValueError as error:  # no frame between start and end, tracks of another one
            errors.append(str(error))
            continue
        chain = dict(
            video=_describe_source(reader, start, end),
            faces=_describe_search(**detection),
            crops=f'{points.size}x{points.size} pixels, template {template or "of ArcFace"}',
        )
        if tracks is not None:
            chain['faces'] = f'those of {reader.path.stem}_tracks.json'
        paths = write_video_result(
            result, folder, outputs, points, chain, writes_tracks=tracks is None
        )
        print_log(
            f'{reader.path}: {_describe(result)}; wrote {", ".join(map(str, paths))}',
            logger='current',
        )
        results.append(result)
        if isinstance(result.stopped_by, InvalidValueError):
            errors.append(str(result.stopped_by))
        elif result.stopped_by is not None:
            raise result.stopped_by
    if errors:
        raise InvalidValueError('\n'.join(errors))
    return results


def _name_tracks(folder: Path, reader: VideoReader) -> Path:
    return folder / f'{reader.path.stem}_tracks.json'


def _check_arguments(videos: Sequence[str], batch_size: int) -> None:
    if not 1 <= batch_size <= MAX_BATCH:
        raise InvalidValueError(f'--batch-size: got {batch_size}, expected 1 to {MAX_BATCH}')
    for video in videos:
        _check_name(Path(video))
    twice = [stem for stem, count in Counter(Path(v).stem for v in videos).items() if count > 1]
    if twice:
        raise InvalidValueError(
            f'got several videos with the name {shorten(twice)}, expected different names, which '
            'become those of the files; run the command once for each, with another --out'
        )


def _check_persons(result: VideoResult, known: set[str]) -> None:
    """Raise if persons have the names of those of another video, and add them to these."""
    twice = sorted(known.intersection(result.tracks.clips))
    if twice:
        raise InvalidValueError(
            f'{result.path}: got {shorten(twice)} as names of persons, whose crops another video '
            'has written, expected different names; run the command for this video alone, with '
            'another --out'
        )
    known.update(result.tracks.clips)


def _check_name(video: Path) -> None:
    try:
        check_clip_names([f'{video.stem}{LONGEST_ENDING}'])
    except InvalidValueError as error:
        raise InvalidValueError(
            f'got the video {shorten_text(video.name)}, expected a name of at most '
            f'{MAX_NAME - len(LONGEST_ENDING)} bytes before the suffix, without backslash or '
            'control character, since persons are named after it; rename the file'
        ) from error


def _check_detection(recorded: dict[Path, FaceTracks], detection: dict, folder: Path) -> None:
    """Refuse settings of the detector that recorded tracks make ineffective."""
    if recorded and detection:
        name, stem = next(iter(detection)), next(iter(recorded)).stem
        raise InvalidValueError(
            f'--{name.replace("_", "-")} has no effect: the faces of {stem} are taken from '
            f'{folder / f"{stem}_tracks.json"}; delete the file to find the faces again'
        )


def _describe_source(reader: VideoReader, start: float | None, end: float | None) -> str:
    part = ''.join(
        f', {word} {time:g} s' for word, time in (('from', start), ('to', end)) if time is not None
    )
    return f'{reader.width}x{reader.height} pixels{part}'


def _describe_search(detector: str = 'mtcnn', min_face: int = 40, detect_every: int = 8) -> str:
    return (
        f'{detector}, at least {min_face} pixels high, searched every {detect_every} frames and '
        'followed in between'
    )


def _describe(result: VideoResult) -> str:
    frames, seen = len(result.tracks.time), len(set(result.tracks.frame_no.tolist()))
    persons = len(result.tracks.clips)
    return f'{frames} frames, faces in {seen} of them, {persons} person{"s" * (persons != 1)}'
