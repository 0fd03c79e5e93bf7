"""WHAT is sampled: a loss, its data and a prior become one energy, from models of any framework."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
