"""Find the faces of videos and score their expressions."""

import os
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from torch import nn

from abaw_mm.apis.config import load_config
from abaw_mm.apis.inference.crop_scorer import CropScorer
from abaw_mm.apis.inference.video_result import Source, VideoResult, find_path
from abaw_mm.apis.inference.write_video_result import (
    NOTHING,
    draw_video_result,
    write_video_result,
)
from abaw_mm.errors import DamagedVideoError, InvalidValueError
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.progress import show_progress
from abaw_mm.video.align import align
from abaw_mm.video.decode import VideoReader
from abaw_mm.video.face_template import ARCFACE, FaceTemplate
from abaw_mm.video.faces import Faces
from abaw_mm.video.find.build_finder import build_finder
from abaw_mm.video.prefetch import AHEAD, prefetch
from abaw_mm.video.table import build_predictions
from abaw_mm.video.track.face_tracker import FaceTracker
from abaw_mm.video.track.face_tracks import FaceTracks
from abaw_mm.video.track.recorded_tracks import RecordedTracks
from abaw_mm.video.video_frame import VideoFrame

BATCH = 16  # faces that are scored together
KEPT = ('all', 'largest')
NO_IMAGE = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class ScoredFrame:
    """A frame of a video with its faces and their probabilities.

    Attributes:
        frame (VideoFrame): The picture and its time.
        face_id (ndarray): (K,) int, person of each face. The same number is the same person.
        faces (Faces): Boxes and points.
        score (ndarray): (K, C) float32 probabilities, not smoothed; the columns of other tracks
            side by side, see :meth:`CropScorer.split`.
    """

    frame: VideoFrame
    face_id: np.ndarray
    faces: Faces
    score: np.ndarray


class _AlignedFrame(NamedTuple):
    frame: VideoFrame
    face_id: np.ndarray
    faces: Faces
    crops: np.ndarray  # (K, S, S, 3)


class VideoExpressionInferencer(BaseInferencer):
    """Find the faces of videos, follow them, and score their expressions.

    Decoding, detection and classification run side by side, with a few frames between them, so that
    memory does not grow with the length of a video.

    Args:
        model (str | Config): Path of the config of a classifier of frames, or a loaded config.
        weights (str, optional): Path or URL of its checkpoint.
        device (str, optional): Device, such as ``'cuda:0'``. Defaults to CUDA if available; for an
            exported network to the CPU.
        detector (str): Face detector, see :func:`build_finder`. Defaults to ``'mtcnn'``.
        min_face (int): Height of the smallest face in pixels. Defaults to 40.
        detect_every (int): Frames from one search of the whole picture to the next, see
            :class:`FaceTracker`. Defaults to 8.
        template (FaceTemplate): Where the points of a face are in the crops. Defaults to that of
            ArcFace.
        show_progress (bool): Whether to show a bar with the time left. Defaults to True.
        onnx (str, optional): Exported network instead of the checkpoint.
        cfg_options (dict, optional): Overrides of the config.

    Raises:
        MissingFileError: If the config or the checkpoint does not exist.
        MissingPackageError: If the packages of ``abaw_mm[video]`` are not installed.
        InvalidValueError: If the checkpoint does not fit, or an argument is out of range.

    Example:
        >>> infer = VideoExpressionInferencer(config, checkpoint)        # doctest: +SKIP
        >>> result = infer('interview.mp4')['predictions'][0]            # doctest: +SKIP
        >>> result.predictions['pred_score'].shape, result.tracks.clips  # doctest: +SKIP
        ((472, 8), ['interview'])
        >>> for frame in infer.stream('interview.mp4'):                  # doctest: +SKIP
        ...     print(frame.frame.time, frame.face_id, frame.score)
    """

    preprocess_kwargs = {'start', 'end'}
    forward_kwargs = {'tracks', 'faces', 'smoothing', 'on_frame'}
    visualize_kwargs = {'show', 'vis_out_dir'}
    postprocess_kwargs = {'pred_out_dir'}

    def __init__(
        self,
        model: str | os.PathLike | Config,
        weights: str | None,
        device: str | None = None,
        detector: str = 'mtcnn',
        min_face: int = 40,
        detect_every: int = 8,
        template: FaceTemplate = ARCFACE,
        show_progress: bool = True,
        onnx: str | None = None,
        cfg_options: dict | None = None,
    ) -> None:
        cfg = model
        if not isinstance(cfg, Config):
            cfg = load_config(os.fspath(cfg), cfg_options=cfg_options)
        self.scorer = CropScorer(cfg, weights, device, cfg_options, onnx)
        self.split, self.width = self.scorer.split, sum(self.scorer.widths.values())
        self.finder = build_finder(detector, min_face, self.scorer.device)
        self.detect_every = detect_every
        self.template = template
        # mmengine's bar would count videos, this one counts frames.
        super().__init__(cfg, weights, device, 'mmpretrain', show_progress=False)
        self.shows_progress = show_progress

    def stream(
        self, source: str | os.PathLike | Source, batch_size: int = 1
    ) -> Iterator[ScoredFrame]:
        """Yield the frames of a video or a camera with their faces and probabilities.

        Args:
            source (str | VideoReader | CameraReader): Path of a video, or an open source.
            batch_size (int): Number of faces that are scored together. More are faster; their
                frames are yielded together. Defaults to 1.
        """
        reader = VideoReader(source) if isinstance(source, (str, os.PathLike)) else source
        return self._stream(reader, self._build_tracker(), batch_size, keep_images=True)

    def preprocess(
        self,
        inputs: Sequence[str | os.PathLike],
        batch_size: int = BATCH,
        start: float | None = None,
        end: float | None = None,
        **kwargs: Any,
    ) -> Iterator[tuple[VideoReader, int]]:
        """Open the videos, one after the other.

        Args:
            inputs (Sequence[str]): Their paths.
            batch_size (int): Number of faces that are scored together. Defaults to 16.
            start (float, optional): Leave out frames before this time, in seconds.
            end (float, optional): Leave out frames from this time on, in seconds.
        """
        for path in inputs:
            yield VideoReader(path, start, end), batch_size

    def forward(
        self,
        inputs: tuple[Source, int],
        tracks: FaceTracks | None = None,
        faces: str = 'all',
        smoothing: Postprocess | None = None,
        on_frame: Callable[[ScoredFrame], bool | None] | None = None,
        **kwargs: Any,
    ) -> list[VideoResult]:
        """Find, follow and score the faces of one video or camera.

        Args:
            inputs (tuple): The open source, and the number of faces that are scored together.
            tracks (FaceTracks, optional): Faces of an earlier run. They are not searched again.
            faces (str): ``'all'``, or ``'largest'`` for the person whose faces have the largest
                area in total. Defaults to ``'all'``.
            smoothing (Postprocess, optional): Smoothing of the predictions of each person.
            on_frame (Callable, optional): Called with each frame; True ends the video.

        Returns:
            list[VideoResult]: One result. Damage and Ctrl-C end it early instead of raising.
        """
        _check_faces(faces)
        reader, batch_size = inputs
        path = find_path(reader)
        tracker = self._build_tracker() if tracks is None else RecordedTracks(tracks, path)
        num_frames, values = 0, array('f')  # small arrays between large ones would split the heap
        stopped_by: BaseException | None = None
        with closing(self._stream(reader, tracker, batch_size, on_frame is not None)) as stream:
            try:
                for scored in self._show_progress(stream, reader):
                    num_frames += 1
                    values.frombytes(scored.score.tobytes())
                    if on_frame is not None and on_frame(scored):
                        break
                else:
                    if isinstance(tracker, RecordedTracks):
                        tracker.check_end()
            except (DamagedVideoError, KeyboardInterrupt) as error:
                stopped_by = error
        found, rows = tracker.finish(path.stem)
        score = np.array(values, np.float32).reshape(-1, self.width)
        found, rows = _cut(found, rows, num_frames, len(score))
        if faces == 'largest':
            found, rows = _keep_largest(found, rows)
        predictions = build_predictions(
            found,
            self.split(score[rows]),
            self.scorer.classes,
            self.scorer.sha256,
            self.scorer.config,
        )
        if smoothing is not None:
            predictions = smoothing(predictions)
        return [VideoResult(reader, found, predictions, stopped_by)]

    def visualize(
        self,
        inputs: Sequence[str | os.PathLike],
        preds: list[VideoResult],
        show: bool = False,
        vis_out_dir: str | None = None,
        **kwargs: Any,
    ) -> list[Path | None]:
        """Draw the faces, probabilities and timelines of the videos.

        Args:
            inputs (Sequence[str]): Not used.
            preds (list[VideoResult]): Results of the videos.
            show (bool): Whether to show them in a window. Defaults to False.
            vis_out_dir (str, optional): Folder for ``<stem>_drawn.mp4``.

        Returns:
            list: Path of each drawn video, None without ``vis_out_dir``.
        """
        return [draw_video_result(result, vis_out_dir, show) for result in preds]

    def postprocess(
        self,
        preds: list[VideoResult],
        visualization: list[Path | None],
        return_datasamples: bool = False,
        pred_out_dir: str | None = None,
        **kwargs: Any,
    ) -> dict:
        """Write and return the results.

        Args:
            preds (list[VideoResult]): Results of the videos.
            visualization (list): Paths of the drawn videos.
            return_datasamples (bool): Not used; results have one form.
            pred_out_dir (str, optional): Folder for table, predictions and tracks, see
                :func:`write_video_result`.

        Returns:
            dict: ``predictions``, the results, and ``visualization``, the paths.
        """
        if pred_out_dir is not None:
            for result in preds:
                write_video_result(result, Path(pred_out_dir), NOTHING)
        return dict(predictions=preds, visualization=visualization)

    def _build_tracker(self) -> FaceTracker:
        return FaceTracker(self.finder, self.detect_every)

    def _stream(
        self,
        reader: Source,
        tracker: FaceTracker | RecordedTracks,
        batch_size: int,
        keep_images: bool = False,
    ) -> Generator[ScoredFrame, None, None]:
        """Run decoding, detection and classification side by side."""
        ahead = AHEAD if reader.path else 1  # of a camera, only the newest frames are of interest
        frames = prefetch(reader, ahead)
        aligned = prefetch(self._align(frames, tracker, keep_images), ahead + batch_size - 1)
        with _share_cores(), closing(frames), closing(aligned):
            for batch in _make_batches(aligned, batch_size):
                score = self.scorer(np.concatenate([item.crops for item in batch]))
                ends = np.cumsum([len(item.crops) for item in batch])
                for item, rows in zip(batch, np.split(score, ends[:-1]), strict=True):
                    yield ScoredFrame(item.frame, item.face_id, item.faces, rows)

    def _align(
        self,
        frames: Iterable[VideoFrame],
        tracker: FaceTracker | RecordedTracks,
        keep_images: bool,
    ) -> Iterator[_AlignedFrame]:
        for frame in frames:
            face_id, faces = tracker.update(frame)
            crops = align(frame.image, faces.points, self.template)
            if not keep_images:
                frame = replace(frame, image=NO_IMAGE)
            yield _AlignedFrame(frame, face_id, faces, crops)

    def _show_progress(
        self, stream: Iterable[ScoredFrame], reader: Source
    ) -> Iterator[ScoredFrame]:
        is_shown = self.shows_progress and reader.path is not None
        with show_progress(f'{reader.path}') if is_shown else nullcontext() as update:
            for done, scored in enumerate(stream, 1):
                yield scored
                if update is not None:
                    update(done, max(reader.num_frames or 0, done))

    def _init_model(self, cfg: Config, weights: str | None, device: str = 'cpu') -> nn.Module:
        return self.scorer.model

    def _init_pipeline(self, cfg: Config) -> CropScorer:
        return self.scorer

    def _init_collate(self, cfg: Config) -> None:
        return None

    def _init_visualizer(self, cfg: Config) -> None:
        return None


@contextmanager
def _share_cores() -> Iterator[None]:
    """Let detection and classification, which run at the same time, use half of the cores each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // 2))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _make_batches(
    aligned: Iterable[_AlignedFrame], batch_size: int
) -> Iterator[list[_AlignedFrame]]:
    """Group frames until they have ``batch_size`` faces, or there are as many frames."""
    batch: list[_AlignedFrame] = []
    try:
        for item in aligned:
            batch.append(item)
            if max(len(batch), sum(len(item.crops) for item in batch)) >= batch_size:
                yield batch
                batch = []
    except DamagedVideoError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _cut(
    tracks: FaceTracks, rows: np.ndarray, num_frames: int, num_faces: int
) -> tuple[FaceTracks, np.ndarray]:
    """Drop what was found in frames that were not scored, after Ctrl-C."""
    if num_frames == len(tracks.time):
        return tracks, rows
    scored = rows < num_faces
    tracks = replace(tracks.take(scored), time=tracks.time[:num_frames])
    seen = np.flatnonzero(tracks.count_by_clip())
    return tracks.select_clips([tracks.clips[face_id] for face_id in seen]), rows[scored]


def _keep_largest(tracks: FaceTracks, rows: np.ndarray) -> tuple[FaceTracks, np.ndarray]:
    """Keep the person whose faces have the largest area in total."""
    if not len(tracks):
        return tracks, rows
    area = (tracks['box'][:, 2:] - tracks['box'][:, :2]).prod(axis=1)
    largest = np.bincount(tracks.clip_id, area).argmax()
    return tracks.select_clips([tracks.clips[largest]]), rows[tracks.clip_id == largest]


def _check_faces(faces: str) -> None:
    if faces not in KEPT:
        raise InvalidValueError(f'--faces: got {faces!r}, expected {" or ".join(KEPT)}')
