"""Write what was found in a video: table, predictions, tracks, drawn video, crops, report."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from abaw_mm.apis.inference.video_result import VideoResult
from abaw_mm.files import open_atomic
from abaw_mm.progress import show_progress
from abaw_mm.structures.tasks import get_targets
from abaw_mm.video.align import align
from abaw_mm.video.crop_writer import CropWriter
from abaw_mm.video.draw.face_drawer import FaceDrawer
from abaw_mm.video.draw.live_window import LiveWindow
from abaw_mm.video.draw.readout import Readout
from abaw_mm.video.draw.timeline import Timeline
from abaw_mm.video.drawn_video import DrawnVideo
from abaw_mm.video.face_template import ARCFACE, FaceTemplate
from abaw_mm.video.prefetch import AHEAD, prefetch
from abaw_mm.video.table import write_table
from abaw_mm.video.track.tracks_file import write_tracks
from abaw_mm.video.video_frame import VideoFrame
from abaw_mm.visualization.report.video_report import find_moments, make_video_report

THUMBNAIL = FaceTemplate(ARCFACE.points * 0.6 + 112 * 0.2, 112)  # wider than a crop

# Uses the picture of a frame and the rows of its faces.
Visitor = Callable[[VideoFrame, np.ndarray], None]


@dataclass(frozen=True)
class Outputs:
    """What is written besides the table, the predictions and the tracks.

    Args:
        drawn (bool): The video with boxes, what is predicted and a timeline,
            ``<stem>_drawn.mp4``.
        crops (bool): Aligned faces, ``cropped_aligned/<person>/00001.jpg``.
        report (bool): An HTML page, ``<stem>.html``.
    """

    drawn: bool = False
    crops: bool = False
    report: bool = False


NOTHING = Outputs()


def write_video_result(
    result: VideoResult,
    out: Path,
    outputs: Outputs,
    template: FaceTemplate = ARCFACE,
    chain: Mapping[str, str] | None = None,
    writes_tracks: bool = True,
) -> list[Path]:
    """Write the files of a video. Each is written whole or not at all.

    Always written are ``<stem>.csv``, see :func:`write_table`, ``<stem>.npz``, see
    :class:`Predictions`, and, unless Ctrl-C ended the video, ``<stem>_tracks.json``, see
    :func:`write_tracks`. What shows pictures reads the video again.

    Args:
        result (VideoResult): What was found.
        out (Path): Folder for the files.
        outputs (Outputs): What is written besides.
        template (FaceTemplate): Template of the crops.
        chain (Mapping, optional): Steps before the classifier, for the page, see
            :func:`make_video_report`.
        writes_tracks (bool): Whether to write the tracks. Defaults to True.

    Returns:
        list[Path]: The files, and the folder of each person's crops.
    """
    stem, tracks, predictions = result.path.stem, result.tracks, result.predictions
    paths = [out / f'{stem}.csv', out / f'{stem}.npz']
    write_table(paths[0], str(result.path), tracks, predictions)
    predictions.write(paths[1])
    # After Ctrl-C, the next run would end there.
    if writes_tracks and not isinstance(result.stopped_by, KeyboardInterrupt):
        paths.append(out / f'{stem}_tracks.json')
        write_tracks(paths[-1], tracks)
    thumbnails: dict[tuple[str, int], np.ndarray] = {}
    visitors: list[Visitor] = []
    with ExitStack() as stack:
        if outputs.drawn:
            paths.append(out / f'{stem}_drawn.mp4')
            video = stack.enter_context(DrawnVideo(paths[-1], result.source))
            visitors.append(_draw(result, video))
        if outputs.crops:
            crops = stack.enter_context(CropWriter(out / 'cropped_aligned', stem))
            visitors.append(_cut_crops(result, crops, template))
        if outputs.report:
            visitors.append(_take_thumbnails(result, thumbnails))
        if visitors:
            _visit_frames(result, visitors)
        if outputs.crops:
            crops.finish(dict(enumerate(tracks.clips)))
            paths += [out / 'cropped_aligned' / clip for clip in tracks.clips]
    if outputs.report:
        paths.append(out / f'{stem}.html')
        page = make_video_report(
            predictions,
            result.path.name,
            tracks.time,
            {clip: face_id for face_id, clip in enumerate(tracks.clips)},
            pictures=thumbnails,
            first_frame=tracks.first_frame,
            chain=chain,
        )
        with open_atomic(paths[-1], 'w', encoding='utf-8') as file:
            file.write(page)
    return paths


def draw_video_result(
    result: VideoResult, out: str | os.PathLike | None, show: bool = False
) -> Path | None:
    """Draw the faces, predictions and timelines of a video.

    Args:
        result (VideoResult): What was found.
        out (str, optional): Folder for ``<stem>_drawn.mp4``. Defaults to none.
        show (bool): Whether to show the pictures in a window. Defaults to False.

    Returns:
        Path: The drawn video, None without ``out``.
    """
    path = None if out is None else Path(out, f'{result.path.stem}_drawn.mp4')
    with ExitStack() as stack:
        visitors = []
        if path is not None:
            visitors.append(_draw(result, stack.enter_context(DrawnVideo(path, result.source))))
        if show:
            visitors.append(_draw(result, stack.enter_context(LiveWindow(result.path.name))))
        if visitors:
            _visit_frames(result, visitors)
    return path


def _visit_frames(result: VideoResult, visitors: Sequence[Visitor]) -> None:
    """Read a video again, and call functions with each frame that has a result."""
    tracks = result.tracks
    order = np.lexsort([tracks.clip_id, tracks.frame_no])
    frame_no = tracks.frame_no[order]
    with (
        closing(prefetch(result.source, AHEAD)) as frames,
        show_progress(f'{result.path.name}: pictures') as update,
    ):
        for done, frame in enumerate(islice(frames, len(tracks.time)), 1):
            first, last = np.searchsorted(frame_no, [frame.index + 1, frame.index + 2])
            for visit in visitors:
                visit(frame, order[first:last])
            update(done, len(tracks.time))


def _draw(result: VideoResult, video: DrawnVideo | LiveWindow) -> Visitor:
    tracks, predictions = result.tracks, result.predictions
    scored = predictions.find(tracks)
    label = np.full((len(tracks.clips), len(tracks.time)), -1)
    values = np.concatenate(
        [predictions[target.prediction] for target in get_targets(predictions.task)], axis=1
    )[scored]
    states = Readout(predictions.task, predictions.classes).find_states(values)
    label[tracks.clip_id, tracks.frame_no - tracks.first_frame] = states
    drawer = FaceDrawer(
        result.source.width,
        result.source.height,
        predictions.classes,
        tracks.clips,
        Timeline(tracks.time, label),
        predictions.task,
    )

    def visit(frame: VideoFrame, rows: np.ndarray) -> None:
        faces = tracks.clip_id[rows], tracks['box'][rows]
        video.write(frame.time, drawer.draw(frame.image, frame.time, *faces, values[rows]))

    return visit


def _cut_crops(result: VideoResult, crops: CropWriter, template: FaceTemplate) -> Visitor:
    tracks = result.tracks

    def visit(frame: VideoFrame, rows: np.ndarray) -> None:
        for row, crop in zip(
            rows, align(frame.image, tracks['points'][rows], template), strict=True
        ):
            crops.write(tracks.clip_id[row], frame.index, crop)

    return visit


def _take_thumbnails(result: VideoResult, thumbnails: dict[tuple[str, int], np.ndarray]) -> Visitor:
    """Return a function that keeps the faces of the frames that the page shows."""
    tracks = result.tracks
    wanted = set(result.predictions.name_frames(find_moments(result.predictions)))

    def visit(frame: VideoFrame, rows: np.ndarray) -> None:
        for row, name in zip(rows, tracks.name_frames(rows), strict=True):
            if name in wanted:
                key = tracks.clips[tracks.clip_id[row]], frame.index + 1
                thumbnails[key] = align(frame.image, tracks['points'][row], THUMBNAIL)

    return visit
