"""The Rashomon laboratory: ensembles of minima, their spectra, how often each is found, and how they connect."""

from slt.studies.rashomon.ensemble import Ensemble as Ensemble
from slt.studies.rashomon.ensemble import settle as settle
from slt.studies.rashomon.ensemble import train_ensemble as train_ensemble
from slt.studies.rashomon.measures import Coefficients as Coefficients
from slt.studies.rashomon.measures import Correlation as Correlation
from slt.studies.rashomon.measures import ensemble_llc as ensemble_llc
from slt.studies.rashomon.measures import equipartition as equipartition
from slt.studies.rashomon.measures import frequencies as frequencies
from slt.studies.rashomon.measures import rank_correlation as rank_correlation
from slt.studies.rashomon.minima import Minima as Minima
from slt.studies.rashomon.minima import find_minima as find_minima
from slt.studies.rashomon.minima import mlp_residuals as mlp_residuals
from slt.studies.rashomon.paths import bezier as bezier
from slt.studies.rashomon.paths import explore as explore
from slt.studies.rashomon.paths import match_units as match_units
from slt.studies.rashomon.paths import walk as walk
from slt.studies.rashomon.slices import Nudges as Nudges
from slt.studies.rashomon.slices import eigenvector_plane as eigenvector_plane
from slt.studies.rashomon.slices import embed as embed
from slt.studies.rashomon.slices import loss_slice as loss_slice
from slt.studies.rashomon.slices import nudge as nudge
from slt.studies.rashomon.slices import plane_through as plane_through
from slt.studies.rashomon.slices import wells as wells
from slt.studies.rashomon.spectra import Spectra as Spectra
from slt.studies.rashomon.spectra import spectra as spectra
