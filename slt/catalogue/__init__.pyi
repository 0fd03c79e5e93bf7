"""Ground truth: potentials and models whose learning coefficient is known, quadrature and closed forms."""

from .registry import potential as potential
from .registry import potentials as potentials
