"""Figures from stored results. Nothing is estimated here, and matplotlib is imported nowhere else."""

from slt.plotting.bounds import plot_certificates as plot_certificates
from slt.plotting.bounds import plot_measures as plot_measures
from slt.plotting.bounds import plot_stopping as plot_stopping
from slt.plotting.calibration import plot_calibration as plot_calibration
from slt.plotting.evidence import plot_free_energy as plot_free_energy
from slt.plotting.geometry import plot_density as plot_density
from slt.plotting.geometry import plot_rank_by_layer as plot_rank_by_layer
from slt.plotting.geometry import plot_spectrum as plot_spectrum
from slt.plotting.llc import MAX_POINTS as MAX_POINTS
from slt.plotting.llc import plot_profile as plot_profile
from slt.plotting.llc import plot_step_size as plot_step_size
from slt.plotting.llc import plot_trace as plot_trace
from slt.plotting.llc import plot_validation as plot_validation
from slt.plotting.phases import plot_phases as plot_phases
from slt.plotting.phases import plot_polygons as plot_polygons
from slt.plotting.pushforward import plot_codimension as plot_codimension
from slt.plotting.pushforward import plot_function_prior as plot_function_prior
from slt.plotting.pushforward import plot_kl_curve as plot_kl_curve
from slt.plotting.series import plot_series as plot_series
from slt.plotting.volume import plot_exponent as plot_exponent
from slt.plotting.volume import plot_misleading as plot_misleading
from slt.plotting.volume import plot_volumes as plot_volumes
