"""Check that no batch augments are configured."""

from abaw_mm.errors import InvalidValueError


def check_no_batch_augments(batch_augments: dict | None) -> None:
    """Raise if augments that mix samples are configured.

    Args:
        batch_augments (dict, optional): ``train_cfg``, as mmpretrain's classifiers pass it to
            their data preprocessor.

    Raises:
        ValueError: If it is not None.
    """
    if batch_augments is not None:
        raise InvalidValueError(
            f'model.train_cfg.augments: got {batch_augments}, expected None, as batches of frames '
            'are not mixed; remove model.train_cfg, or inherit _base_/plain.py'
        )
