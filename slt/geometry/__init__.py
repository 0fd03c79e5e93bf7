"""The landscape around a point: curvature operators, spectra, ranks, volumes, behaviour."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
