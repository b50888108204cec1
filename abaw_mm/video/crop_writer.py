"""Write the crops of a video in the layout of Aff-Wild2."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import simplejpeg

from abaw_mm.errors import FileAccessError
from abaw_mm.structures import check_clip_names

QUALITY = 95  # of the JPEG files, whose colours are not subsampled


class CropWriter:
    """Write crops as ``<root>/<clip>/00001.jpg``.

    The number of a file is the number of its frame plus one. The names of clips may depend on the
    whole video, so crops are written to a hidden folder, and moved when the names are known.
    ``AffWild2Dataset``, the check of a download and the extraction of features read the result.

    Use it as a context manager. If the block ends without :meth:`finish`, nothing is left.

    Args:
        root: Folder of the crops, such as ``out/cropped_aligned``. It is created if necessary.
        stem (str): Name of the video without its suffix. It keeps videos apart that are written at
            the same time.

    Raises:
        OSError: If the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, CropWriter(folder, 'talk') as crops:
        ...     crops.write(0, 11, np.zeros((112, 112, 3), np.uint8))
        ...     crops.finish({0: 'talk'})
        ...     sorted(str(path.relative_to(folder)) for path in Path(folder).rglob('*.jpg'))
        ['talk/00012.jpg']
    """

    def __init__(self, root: str | os.PathLike, stem: str) -> None:
        self.root = Path(root)
        self._draft = self.root / f'.{stem}.part'

    def __enter__(self) -> 'CropWriter':
        shutil.rmtree(self._draft, ignore_errors=True)  # left by a killed process
        return self

    def write(self, face_id: int, index: int, crop: np.ndarray) -> None:
        """Write the crop of a face.

        Args:
            face_id (int): Number of the face in its video.
            index (int): Number of the frame, from 0.
            crop (ndarray): (H, W, 3) uint8 RGB.
        """
        data = simplejpeg.encode_jpeg(
            np.ascontiguousarray(crop), quality=QUALITY, colorspace='RGB', colorsubsampling='444'
        )
        folder = self._draft / str(face_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f'{index + 1:05d}.jpg').write_bytes(data)
        except OSError as error:
            raise self._explain(error) from error

    def finish(self, names: Mapping[int, str]) -> None:
        """Move the crops to the folders of their clips, which replace folders of these names.

        Args:
            names (Mapping[int, str]): Name of the clip of each face. Faces without a name are
                dropped. Faces of the same name become one clip.
        """
        check_clip_names(names.values(), self.root)
        try:
            for name in sorted(set(names.values())):
                self._move([face_id for face_id in names if names[face_id] == name], name)
        except OSError as error:
            raise self._explain(error) from error

    def _move(self, face_ids: list[int], name: str) -> None:
        folders = [self._draft / str(i) for i in face_ids if (self._draft / str(i)).is_dir()]
        if not folders:
            return
        for folder in folders[1:]:
            for path in folder.iterdir():
                path.replace(folders[0] / path.name)
        target = self.root / name
        if target.exists():
            target.rename(self._draft / f'{face_ids[0]}.replaced')
        folders[0].rename(target)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._draft, ignore_errors=True)

    def _explain(self, error: OSError) -> FileAccessError:
        return FileAccessError(
            f'{self.root}: crops cannot be written: {error}; free disk space or give another folder'
        )
