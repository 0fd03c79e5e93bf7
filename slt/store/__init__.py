"""Results and tables in files that ArviZ and xarray can open, with provenance."""

from slt.store.evidence import load_free_energy as load_free_energy
from slt.store.evidence import save_free_energy as save_free_energy
from slt.store.files import check_output as check_output
from slt.store.files import checkpoint_folder as checkpoint_folder
from slt.store.files import discard as discard
from slt.store.files import open_datatree as open_datatree
from slt.store.files import provenance as provenance
from slt.store.responses import load_response as load_response
from slt.store.responses import save_response as save_response
from slt.store.results import from_datatree as from_datatree
from slt.store.results import load as load
from slt.store.results import save as save
from slt.store.results import to_datatree as to_datatree
from slt.store.rows import load_rows as load_rows
from slt.store.rows import load_tables as load_tables
from slt.store.rows import save_rows as save_rows
from slt.store.rows import save_tables as save_tables
from slt.store.rows import stored_kind as stored_kind
