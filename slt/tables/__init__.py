"""Results as tables for the terminal; they read well at 100 columns."""

from slt.tables.base import COLOURS as COLOURS
from slt.tables.base import fraction as fraction
from slt.tables.base import interval as interval
from slt.tables.base import number as number
from slt.tables.base import plus_minus as plus_minus
from slt.tables.base import verdict as verdict
from slt.tables.bounds import bound_report_table as bound_report_table
from slt.tables.comparison import comparison_table as comparison_table
from slt.tables.comparison import correlation_table as correlation_table
from slt.tables.criteria import criteria_table as criteria_table
from slt.tables.criteria import free_energy_table as free_energy_table
from slt.tables.exact import exact_table as exact_table
from slt.tables.llc import agrees as agrees
from slt.tables.llc import covers as covers
from slt.tables.llc import potentials_table as potentials_table
from slt.tables.llc import profile_table as profile_table
from slt.tables.llc import result_table as result_table
from slt.tables.llc import validation_table as validation_table
from slt.tables.pushforward import codimension_table as codimension_table
from slt.tables.pushforward import kl_table as kl_table
from slt.tables.series import calibration_table as calibration_table
from slt.tables.series import series_table as series_table
from slt.tables.volume import scaling_table as scaling_table
from slt.tables.volume import volume_table as volume_table
