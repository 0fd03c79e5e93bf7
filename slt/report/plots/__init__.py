"""Figures from stored results. Nothing is estimated here, and matplotlib is imported nowhere else."""

from slt.report.plots.bounds import plot_certificates as plot_certificates
from slt.report.plots.bounds import plot_stopping as plot_stopping
from slt.report.plots.calibration import plot_calibration as plot_calibration
from slt.report.plots.comparison import plot_comparison as plot_comparison
from slt.report.plots.comparison import plot_correlations as plot_correlations
from slt.report.plots.evidence import plot_free_energy as plot_free_energy
from slt.report.plots.geometry import plot_density as plot_density
from slt.report.plots.geometry import plot_rank_by_layer as plot_rank_by_layer
from slt.report.plots.llc import MAX_POINTS as MAX_POINTS
from slt.report.plots.llc import plot_profile as plot_profile
from slt.report.plots.llc import plot_trace as plot_trace
from slt.report.plots.llc import plot_validation as plot_validation
from slt.report.plots.phases import plot_phases as plot_phases
from slt.report.plots.phases import plot_polygons as plot_polygons
from slt.report.plots.rashomon import plot_embedding as plot_embedding
from slt.report.plots.rashomon import plot_near_zero as plot_near_zero
from slt.report.plots.rashomon import plot_paths as plot_paths
from slt.report.plots.rashomon import plot_slices as plot_slices
from slt.report.plots.rashomon import plot_wells as plot_wells
from slt.report.plots.response import plot_components as plot_components
from slt.report.plots.response import plot_response as plot_response
from slt.report.plots.series import plot_series as plot_series
