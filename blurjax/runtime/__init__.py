"""Files, run directories, locks, signals and processes: everything that must lose nothing when something fails.

`environment` and `processes` import jax and are imported as modules.
"""

from blurjax.runtime.errors import AllTrialsFailed, Interrupted, UserError
from blurjax.runtime.files import (
    DAMAGED,
    expand_path,
    jsonable,
    read_json,
    read_npz,
    readable_os_errors,
    synchronize,
    write_bytes,
    write_json,
    write_npz,
)
from blurjax.runtime.run_directory import FORMAT, RunDirectory
from blurjax.runtime.stop import INTERRUPTED, TERMINATED, StopRequest

__all__ = [
    "DAMAGED",
    "FORMAT",
    "INTERRUPTED",
    "TERMINATED",
    "AllTrialsFailed",
    "Interrupted",
    "RunDirectory",
    "StopRequest",
    "UserError",
    "expand_path",
    "jsonable",
    "read_json",
    "read_npz",
    "readable_os_errors",
    "synchronize",
    "write_bytes",
    "write_json",
    "write_npz",
]
