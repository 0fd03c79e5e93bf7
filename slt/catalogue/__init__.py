"""Ground truth: potentials and models whose learning coefficient is known, quadrature and closed forms."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
