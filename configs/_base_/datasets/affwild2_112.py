"""Aff-Wild2 at the 112x112 pixels of its official crops: what networks of face recognition take.

The augmentation is affwild2.py's; a test takes the crop as it is. For `FrameClassifier`.
"""

_base_ = ['affwild2_fast.py']

data_preprocessor = dict(crop_size=112, resize_edge=112)
