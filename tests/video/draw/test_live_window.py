"""Test the window of the live source without a display."""

import numpy as np
import pytest

from abaw_mm.errors import MissingPackageError
from abaw_mm.video.draw import live_window as module
from abaw_mm.video.draw.live_window import LiveWindow


class FakeCv2:
    """Record what is shown; the third picture is followed by a key or by closing the window."""

    WINDOW_NORMAL = WINDOW_KEEPRATIO = WND_PROP_VISIBLE = COLOR_RGB2BGR = 0

    def __init__(self, key=-1, is_closed=False, gui='QT5'):
        self.key, self.is_closed, self.gui = key, is_closed, gui
        self.shown, self.destroyed = [], []

    def getBuildInformation(self):
        return f'  GUI:                           {self.gui}\n    QT: YES'

    def namedWindow(self, title, flags):
        pass

    def cvtColor(self, image, code):
        return image[..., ::-1]

    def imshow(self, title, image):
        self.shown.append((title, image[0, 0].tolist()))

    def waitKey(self, delay):
        return self.key if len(self.shown) == 3 else -1

    def getWindowProperty(self, title, name):
        return 0.0 if self.is_closed and len(self.shown) == 3 else 1.0

    def destroyWindow(self, title):
        self.destroyed.append(title)


@pytest.mark.parametrize(
    'options, shown',
    [({}, 5), (dict(key=ord('q')), 3), (dict(key=27), 3), (dict(is_closed=True), 3)],
)
def test_pictures_are_shown_until_the_user_closes_the_window(options, shown, monkeypatch):
    cv2 = FakeCv2(**options)
    monkeypatch.setattr(module, 'cv2', cv2)
    monkeypatch.setenv('DISPLAY', ':0')
    with LiveWindow('title') as window:
        for number in range(5):
            window.write(0.1 * number, np.full((4, 4, 3), [number, 0, 9], np.uint8))
    assert cv2.shown == [('title', [9, 0, number]) for number in range(shown)]
    assert window.is_closed == bool(options)
    assert cv2.destroyed == ([] if 'is_closed' in options else ['title'])


@pytest.mark.parametrize(
    'gui, display, found', [('NONE', ':0', 'OpenCV without windows'), ('QT5', '', 'no display')]
)
def test_missing_window_names_the_file_instead(gui, display, found, monkeypatch):
    monkeypatch.setattr(module, 'cv2', FakeCv2(gui=gui))
    monkeypatch.setattr(module.sys, 'platform', 'linux')
    monkeypatch.setenv('DISPLAY', display)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    with pytest.raises(MissingPackageError, match=f'{found}.* to a file'):
        LiveWindow('title')
