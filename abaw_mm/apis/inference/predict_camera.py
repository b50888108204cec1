"""Show or write the expressions in the pictures of a camera."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from abaw_mm.apis.inference.video_inferencer import ScoredFrame, VideoExpressionInferencer
from abaw_mm.apis.inference.video_result import CAMERA, VideoResult
from abaw_mm.apis.inference.write_video_result import NOTHING, write_video_result
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.video.camera import CameraReader, Capture
from abaw_mm.video.draw.face_drawer import FaceDrawer
from abaw_mm.video.draw.live_window import LiveWindow
from abaw_mm.video.drawn_video import DrawnVideo
from abaw_mm.video.face_template import ARCFACE, read_template


def predict_camera(
    config: str,
    checkpoint: str | None,
    camera: int | Capture = 0,
    out: str | None = None,
    smoothing: Postprocess | None = None,
    template: str | None = None,
    device: str | None = None,
    cfg_options: dict | None = None,
    onnx: str | None = None,
    **detection: Any,
) -> VideoResult:
    """Predict the expressions in front of a camera until its window is closed, or until Ctrl-C.

    Frames are dropped if the computer is slower than the camera.

    Args:
        config (str): Path of the config of a classifier of frames.
        checkpoint (str, optional): Path or URL of its checkpoint.
        camera (int | Capture): Number of the camera, see :class:`CameraReader`.
        out (str, optional): Folder for the drawn video, table, predictions and tracks, whose names
            start with ``camera``. Defaults to a window.
        smoothing (Postprocess, optional): Smoothing of the table. What is drawn is not smoothed.
        template (str, optional): File of the template of the crops. Defaults to ArcFace's.
        device (str, optional): Device, such as ``'cuda:0'``. Defaults to CUDA if available.
        cfg_options (dict, optional): Overrides of the config.
        onnx (str, optional): Exported network instead of the checkpoint.
        **detection: As for :func:`predict_video`.

    Raises:
        FileAccessError: If the camera gives no frame.
        MissingPackageError: If there is no display for a window.
    """
    inferencer = VideoExpressionInferencer(
        config,
        checkpoint,
        device=device,
        onnx=onnx,
        template=ARCFACE if template is None else read_template(template),
        cfg_options=cfg_options,
        **detection,
    )
    scorer = inferencer.scorer
    with ExitStack() as stack:
        window = stack.enter_context(LiveWindow('abaw_mm')) if out is None else None
        reader = stack.enter_context(CameraReader(camera))
        drawn: LiveWindow | DrawnVideo = window or stack.enter_context(
            DrawnVideo(Path(out or '', f'{CAMERA}_drawn.mp4'), reader)
        )
        drawer = FaceDrawer(reader.width, reader.height, scorer.classes, task=scorer.task)

        def draw(scored: ScoredFrame) -> bool:
            frame, faces = scored.frame, scored.faces
            image = drawer.draw(frame.image, frame.time, scored.face_id, faces.box, scored.score)
            drawn.write(frame.time, image)
            return window is not None and window.is_closed

        (result,) = inferencer.forward((reader, 1), smoothing=smoothing, on_frame=draw)
    frames, seconds = len(result.tracks.time), float(np.ptp(result.tracks.time))
    print_log(
        f'camera: {frames} frames in {seconds:.1f} s, {reader.dropped} dropped', logger='current'
    )
    if out is not None:
        write_video_result(result, Path(out), NOTHING)
    return result
