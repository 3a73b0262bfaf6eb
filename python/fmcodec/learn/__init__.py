"""Learning of policies by gradients through the exact simulation of the codec. Start with `learn_policy`."""

from fmcodec.learn.layer import LearnedLayer
from fmcodec.learn.learn import Check, LearnedPolicy, learn_policy
from fmcodec.learn.rate import model_bits
from fmcodec.learn.straight_through import StraightThrough, straight_through

__all__ = [
    "Check",
    "LearnedLayer",
    "LearnedPolicy",
    "StraightThrough",
    "learn_policy",
    "model_bits",
    "straight_through",
]
