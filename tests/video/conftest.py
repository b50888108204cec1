"""Frames of real videos."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

VIDEOS = Path(__file__).parents[3] / 'shared/videos'  # optional
WOMAN, MAN, MAN_LEAVES = 'WolfgangLanger_Pexels.mp4', 'single_face.mp4', 'face_noface.mov'


@pytest.fixture(scope='session')
def real_frames() -> Callable[..., list[np.ndarray]]:
    """Read frames of a real video by number; skip if it is not available."""
    av = pytest.importorskip('av')

    def read(name: str, numbers: Iterable[int]) -> list[np.ndarray]:
        if not (VIDEOS / name).is_file():
            pytest.skip(f'no {name} beside the repository')
        wanted = set(numbers)
        with av.open(str(VIDEOS / name)) as container:
            return [
                frame.to_ndarray(format='rgb24')
                for number, frame in zip(
                    range(max(wanted) + 1), container.decode(video=0), strict=False
                )
                if number in wanted
            ]

    return read
