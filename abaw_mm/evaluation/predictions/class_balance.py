"""How a training changed the frequencies of the classes."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from abaw_mm.datasets.samplers.frame_stride import UNIFORM, repeat_factors_of_shares
from abaw_mm.errors import InvalidValueError

PLAIN_SAMPLERS = ('FrameStrideSampler', 'DefaultSampler', 'InfiniteSampler', 'RepeatAugSampler')


@dataclass(frozen=True)
class ClassBalance:
    """How a training changed the frequencies of the classes, by its sampler and by its loss.

    A network learns the frequencies that it saw, times the weights of the loss. Logit adjustment
    divides by these, not by those of the annotations.

    Args:
        oversample_thr (float): ``class_balance`` of ``FrameStrideSampler``, 0 without it.
        class_weight (tuple[float], optional): (C,) weight of each class in the loss.
        uniform (bool): Whether the sampler draws all classes equally often. Defaults to False.
        logit_tau (float): ``tau`` of ``LogitAdjustedLoss``, 0 without it.
    """

    oversample_thr: float = 0.0
    class_weight: tuple[float, ...] | None = None
    uniform: bool = False
    logit_tau: float = 0.0

    @classmethod
    def from_config(cls, cfg: Mapping) -> 'ClassBalance | None':
        """Find the balance in a config; None if the config does not say it.

        With a ``ClassFrequencyHook``, the checkpoint says it.
        """
        balance = cls.of_sampler(cfg)
        if balance is None or 'ClassFrequencyHook' in str(_list_hooks(cfg)):
            return None
        loss = (cfg.get('model', {}).get('head') or {}).get('loss') or {}
        weight = loss.get('class_weight')
        return replace(balance, class_weight=weight and tuple(weight))

    @classmethod
    def of_sampler(cls, cfg: Mapping) -> 'ClassBalance | None':
        """Find the balance of the sampler in a config; None if the config does not say it."""
        loader = cfg.get('train_dataloader')
        if not loader or 'ClassBalancedDataset' in str(loader.get('dataset')):
            return None
        sampler = loader.get('sampler') or dict(type='DefaultSampler')
        if sampler.get('type') not in PLAIN_SAMPLERS:
            return None
        balance = sampler.get('class_balance') or {}
        if balance == UNIFORM:
            return cls(uniform=True)
        return cls(balance.get('oversample_thr', 0.0))

    @classmethod
    def parse(cls, text: str) -> 'ClassBalance | None':
        """Parse :meth:`format`; None for an empty text.

        Raises:
            ValueError: If the text is something else.
        """
        try:
            values = json.loads(text) if text else None
            if values is None:
                return None
            weight = values['class_weight']
            thr, weight = float(values['oversample_thr']), weight and tuple(map(float, weight))
            uniform, tau = values.get('uniform', False), float(values.get('logit_tau', 0.0))
            if not 0 <= thr <= 1 or not all(0 <= x < np.inf for x in weight or ()):
                raise ValueError('out of range')
            if not isinstance(uniform, bool) or not 0 <= tau < np.inf:
                raise ValueError('out of range')
            return cls(thr, weight, uniform, tau)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise InvalidValueError(
                f'got class_balance {text!r}, expected oversample_thr and class_weight in JSON'
            ) from error

    def format(self) -> str:
        """Format as JSON; what is not set is left out where earlier versions do not know it."""
        values = asdict(self)
        for name in ('uniform', 'logit_tau'):
            if not values[name]:
                del values[name]
        return json.dumps(values)

    def apply(self, shares: np.ndarray) -> np.ndarray:
        """Turn the shares of the classes among the annotations into those that training saw.

        Args:
            shares (ndarray): (C,) above 0, together 1.

        Returns:
            ndarray: (C,) together 1.

        Raises:
            ValueError: If the loss has another number of weights.

        >>> ClassBalance(0.4).apply(np.array([.9, .1]))  # the rare class is drawn twice
        array([0.81818182, 0.18181818])
        >>> ClassBalance(logit_tau=1).apply(np.array([.9, .1]))  # the loss has removed them
        array([0.5, 0.5])
        """
        if self.uniform:
            seen = np.ones(len(shares))
        else:
            seen = shares * repeat_factors_of_shares(shares, self.oversample_thr)
        if self.class_weight is not None:
            if len(self.class_weight) != len(shares):
                raise InvalidValueError(
                    f'class_weight: got {len(self.class_weight)} weights for {len(shares)} '
                    'classes, expected one per class'
                )
            seen = seen * np.array(self.class_weight)
        seen = seen / seen.sum()
        if self.logit_tau:
            seen = seen ** (1 - self.logit_tau)
        return seen / seen.sum()


def _list_hooks(cfg: Mapping) -> list:
    return [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or ())]
