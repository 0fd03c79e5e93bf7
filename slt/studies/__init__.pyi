"""The laboratory: Rashomon sets, function space, codimension, information loss, sharpness."""

from . import rashomon as rashomon
from .function_space import draw_functions as draw_functions
from .function_space import function_kl as function_kl
from .function_space import subset_simulation as subset_simulation
from .information import information_loss as information_loss
from .segment import basin_segment as basin_segment
from .smoothing import codimension as codimension
from .smoothing import linearised_kl as linearised_kl
from .smoothing import smoothed_kl as smoothed_kl
