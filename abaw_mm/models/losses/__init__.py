"""Losses."""

from .contrawarping_loss import ContraWarpingLoss

__all__ = ['ContraWarpingLoss']
