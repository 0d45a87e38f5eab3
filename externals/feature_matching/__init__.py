"""Match points of two pictures: LightGlue, SuperGlue, or SIFT, which needs no weights."""

from externals.feature_matching.choice import MATCHERS, choose_matcher
from externals.feature_matching.light_glue import LightGlue
from externals.feature_matching.matcher import Matcher, Matches
from externals.feature_matching.sift import Sift
from externals.feature_matching.super_glue import SuperGlue

__all__ = ["MATCHERS", "LightGlue", "Matcher", "Matches", "Sift", "SuperGlue", "choose_matcher"]
