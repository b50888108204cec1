"""What was found in a video."""

from dataclasses import dataclass
from pathlib import Path

from abaw_mm.evaluation import Predictions
from abaw_mm.video.camera import CameraReader
from abaw_mm.video.decode import VideoReader
from abaw_mm.video.track.face_tracks import FaceTracks

CAMERA = Path('camera')  # name of the files of a camera
Source = VideoReader | CameraReader


def find_path(source: Source) -> Path:
    """Return the path of a video, or the name of a camera's files."""
    return source.path or CAMERA


@dataclass(frozen=True, eq=False)
class VideoResult:
    """The persons of a video and their expressions.

    Attributes:
        source (VideoReader | CameraReader): The video.
        tracks (FaceTracks): Faces of each person, F rows.
        predictions (Predictions): Probabilities of the same faces, smoothed if that was asked for.
        stopped_by (BaseException, optional): What ended the video early: damage, or Ctrl-C. The
            frames before are complete.
    """

    source: Source
    tracks: FaceTracks
    predictions: Predictions
    stopped_by: BaseException | None = None

    @property
    def path(self) -> Path:
        """Path of the video; ``camera`` for a camera."""
        return find_path(self.source)
