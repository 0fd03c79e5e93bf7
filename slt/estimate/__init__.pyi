"""THE QUESTIONS: a target in, a result with a verdict out."""

from . import comparison as comparison
from .calibration import calibrate as calibrate
from .comparison import Certificates as Certificates
from .comparison import Subject as Subject
from .comparison import certify as certify
from .comparison import compare as compare
from .comparison import correlations as correlations
from .comparison import mlp_subject as mlp_subject
from .comparison import potential_subject as potential_subject
from .criteria import estimate_criteria as estimate_criteria
from .free_energy import estimate_free_energy as estimate_free_energy
from .influence import estimate_influence as estimate_influence
from .influence import estimate_susceptibility as estimate_susceptibility
from .llc import estimate_llc as estimate_llc
from .llc import llc_profile as llc_profile
from .llc import sample_posterior as sample_posterior
from .series import estimate_series as estimate_series
from .volume import basin_volumes as basin_volumes
from .volume import posterior_volume as posterior_volume
from .volume import volume_scaling as volume_scaling
