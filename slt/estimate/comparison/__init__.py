"""Every measure of a minimum beside every other: what they say, what they cost, and why some say nothing."""

from slt.estimate.comparison.certified import Certificates as Certificates
from slt.estimate.comparison.certify import certify as certify
from slt.estimate.comparison.run import compare as compare
from slt.estimate.comparison.run import correlations as correlations
from slt.estimate.comparison.subjects import Subject as Subject
from slt.estimate.comparison.subjects import mlp_subject as mlp_subject
from slt.estimate.comparison.subjects import potential_subject as potential_subject
