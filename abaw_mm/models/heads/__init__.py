"""Heads of the tracks other than expressions, whose heads are mmpretrain's."""

from .action_unit_head import ActionUnitHead
from .multi_track_head import MultiTrackHead
from .track_head import TrackHead
from .valence_arousal_head import ValenceArousalHead

__all__ = ['ActionUnitHead', 'MultiTrackHead', 'TrackHead', 'ValenceArousalHead']
