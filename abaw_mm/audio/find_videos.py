"""Find the video of each clip."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from abaw_mm.datasets.annotations import raw_video
from abaw_mm.errors import InvalidValueError, MissingFileError, shorten

SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg', '.ts', '.wmv')


def find_videos(clips: Iterable[str], folders: Sequence[str | os.PathLike]) -> dict[str, Path]:
    """Find the video of each clip by its name.

    A clip's video has the name of the clip, or that of the clip without ``_left`` or ``_right``. If
    several folders have it, the first is used.

    Args:
        clips (Iterable[str]): Names of the clips.
        folders (Sequence): Folders of videos.

    Returns:
        dict: Clip to the path of its video. Clips without a video are left out.

    Raises:
        FileNotFoundError: If a folder does not exist.
        ValueError: If a folder has two videos of one name, or no clip has a video.
    """
    clips = list(clips)
    videos: dict[str, Path] = {}
    for folder in reversed(folders):
        videos.update(_list_videos(Path(folder).expanduser()))
    found = {
        clip: videos[name]
        for clip in clips
        for name in [clip if clip in videos else raw_video(clip)]
        if name in videos
    }
    if not found:
        raise InvalidValueError(
            f'VIDEOS: got {len(videos)} videos in {", ".join(map(str, folders))}, none of the '
            f'{len(clips)} clips, such as {shorten(clips[:2])}; expected <clip>.mp4 or .avi: give '
            'the folders that hold them'
        )
    return found


def _list_videos(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise MissingFileError(f'VIDEOS: got no folder {folder}, expected one with videos')
    videos: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith('.'):
            continue
        if path.stem in videos:
            raise InvalidValueError(
                f'{folder}: got {videos[path.stem].name} and {path.name}, expected one video per '
                'name; move one away'
            )
        videos[path.stem] = path
    return videos
