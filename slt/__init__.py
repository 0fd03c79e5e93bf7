"""slt: how degenerate is a minimum, how sure are we, and what does it imply — learning coefficients with error bars."""

import lazy_loader

# the public names are in __init__.pyi, one import a line
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
