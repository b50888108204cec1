"""Aff-Wild2 at 112x112 pixels, the size of the official crops and of face recognition networks.

The augmentation is that of affwild2.py. In tests the crop is used as it is.
"""

_base_ = ['affwild2_fast.py']

data_preprocessor = dict(crop_size=112, resize_edge=112)
