"""The Rashomon laboratory: ensembles of minima, their spectra, how often each is found, and how they connect."""

from slt.rashomon.ensemble import Ensemble as Ensemble
from slt.rashomon.ensemble import settle as settle
from slt.rashomon.ensemble import train_ensemble as train_ensemble
from slt.rashomon.measures import Coefficients as Coefficients
from slt.rashomon.measures import Correlation as Correlation
from slt.rashomon.measures import ensemble_llc as ensemble_llc
from slt.rashomon.measures import equipartition as equipartition
from slt.rashomon.measures import frequencies as frequencies
from slt.rashomon.measures import rank_correlation as rank_correlation
from slt.rashomon.paths import bezier as bezier
from slt.rashomon.paths import explore as explore
from slt.rashomon.paths import match_units as match_units
from slt.rashomon.paths import walk as walk
from slt.rashomon.slices import Nudges as Nudges
from slt.rashomon.slices import eigenvector_plane as eigenvector_plane
from slt.rashomon.slices import embed as embed
from slt.rashomon.slices import loss_slice as loss_slice
from slt.rashomon.slices import nudge as nudge
from slt.rashomon.slices import plane_through as plane_through
from slt.rashomon.slices import random_plane as random_plane
from slt.rashomon.slices import wells as wells
from slt.rashomon.spectra import Spectra as Spectra
from slt.rashomon.spectra import spectra as spectra
from slt.rashomon.spectra import threshold_sensitivity as threshold_sensitivity
