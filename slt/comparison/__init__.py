"""Every measure of a minimum beside every other: what they say, what they cost, and why some say nothing."""

from slt.comparison.run import compare as compare
from slt.comparison.run import correlations as correlations
from slt.comparison.subjects import Subject as Subject
from slt.comparison.subjects import mlp_subject as mlp_subject
from slt.comparison.subjects import potential_subject as potential_subject
