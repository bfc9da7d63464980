"""Training beyond one machine, on Dask or MPI: the same bits, whoever computes them.

``pycnn.distributed.fit(net, (X, y), client=client)`` trains on Dask (extra ``distributed``), with
``comm=comm`` on MPI (extra ``mpi``), and with neither in this process alone.
"""

from pycnn._public import names_of
from pycnn.distributed._sources import Files, from_npy, from_parquet, rows_of
from pycnn.distributed._training import fit

__all__ = ["Files", "fit", "from_npy", "from_parquet", "rows_of"]
__dir__ = names_of(__name__)
