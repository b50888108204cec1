"""Import PyAV, which is an optional package."""

from types import ModuleType

from abaw_mm.errors import MissingPackageError


def import_av() -> ModuleType:
    """Import PyAV, which reads and writes videos.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(
            f'PyAV cannot be imported ({error}), expected av 14 to 19; run '
            'pip install abaw_mm[video]'
        ) from error
    av.logging.set_level(None)  # FFmpeg's messages on damaged files; errors are raised
    return av
