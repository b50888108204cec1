"""Show pictures in a window."""

import os
import re
import sys
from types import TracebackType

import cv2
import numpy as np

from abaw_mm.errors import MissingPackageError

QUIT_KEYS = (ord('q'), 27)  # 27: Esc


class LiveWindow:
    """Show pictures in a window while they are made.

    Use it as a context manager. It has the method ``write`` of DrawnVideo.

    Args:
        title (str): Title of the window.

    Attributes:
        is_closed (bool): Whether the user has closed the window, or pressed q or Esc.

    Raises:
        ImportError: If OpenCV is installed without windows, or there is no display.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.is_closed = False
        _check_display()

    def __enter__(self) -> 'LiveWindow':
        cv2.namedWindow(self.title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        return self

    def write(self, time: float, image: np.ndarray) -> None:
        """Show a picture, (H, W, 3) uint8 RGB; the time is ignored."""
        if not self.is_closed:
            cv2.imshow(self.title, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            key = cv2.waitKey(1) & 0xFF
            self.is_closed = cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1
            if key in QUIT_KEYS and not self.is_closed:
                cv2.destroyWindow(self.title)
                self.is_closed = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.is_closed:
            cv2.destroyWindow(self.title)


def _check_display() -> None:
    """Raise MissingPackageError where OpenCV would fail, or end the process."""
    gui = re.search(r'GUI: *(\w+)', cv2.getBuildInformation())
    has_display = sys.platform != 'linux' or any(
        map(os.environ.get, ('DISPLAY', 'WAYLAND_DISPLAY'))
    )
    if gui is None or gui[1] == 'NONE':
        reason, fix = 'OpenCV without windows', 'install opencv-python instead of -headless'
    elif not has_display:
        reason, fix = 'no display', 'run it on a desktop'
    else:
        return
    raise MissingPackageError(
        f'a window cannot be opened: got {reason}; {fix}, or write the drawn video to a file'
    )
