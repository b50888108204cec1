"""Build the detector that ``--detector`` names."""

from abaw_mm.errors import InvalidValueError
from abaw_mm.video.find.face_finder import FaceFinder
from abaw_mm.video.find.mtcnn import MTCNNFinder
from abaw_mm.video.find.yunet import YuNetFinder


def build_finder(detector: str = 'mtcnn', min_face: int = 40, device: str = 'cpu') -> FaceFinder:
    """Build a detector.

    Args:
        detector (str): ``'mtcnn'``, or ``'yunet:FILE'`` with a model file.
        min_face (int): Height of the smallest face in pixels. Defaults to 40.
        device (str): Device of MTCNN; YuNet runs on the CPU. Defaults to ``'cpu'``.

    Raises:
        InvalidValueError: If the detector is unknown, or its model is damaged.
        MissingFileError: If its model does not exist.
        MissingPackageError: If a package is missing.
    """
    kind, _, path = detector.partition(':')
    if detector == 'mtcnn':
        return MTCNNFinder(min_face, device)
    if kind == 'yunet' and path:
        return YuNetFinder(path, min_face)
    raise InvalidValueError(
        f'--detector: got {detector!r}, expected mtcnn or yunet:FILE; correct it'
    )
