"""Ray: connected to, and what it has room for."""

import os
from importlib.util import find_spec
from typing import Any

from ..errors import AtomtuneError, UsageError, excerpt
from .options import ClusterOptions

_STORE = 200 * 2**20  # bytes of Ray's object store on this machine; concepts' images are all that is in it


def connect(options: ClusterOptions, least_cpus: int = 1) -> Any:
    """Ray's module, connected to the cluster, or to one that is started on this machine; `shutdown` ends that.

    Args:
        least_cpus: that one on this machine is to have, on however few cores.

    Raises UsageError where Ray is not installed, AtomtuneError where the cluster cannot be reached.
    """
    if find_spec("ray") is None:
        raise UsageError("this needs ray", "pip install 'atomtune[fleet]'")
    import ray

    here: dict[str, Any] = {}
    if options.address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
        cpus = max(least_cpus, os.cpu_count() or 1)
        here = {"include_dashboard": False, "object_store_memory": _STORE, "num_cpus": cpus}
    try:
        ray.init(address=options.address or "local", log_to_driver=False, logging_level="error", **here)
    except (OSError, RuntimeError, ValueError, TimeoutError) as problem:
        where = f"the cluster at {excerpt(options.address)}" if options.address else "Ray"
        raise AtomtuneError(
            f"cannot connect to {where}: {excerpt(problem, 300)}",
            "--address auto or ray://HEAD:10001; Python and Ray must have the same version on all machines",
        ) from None
    return ray


def resources(ray: Any, options: ClusterOptions) -> tuple[dict[str, float], int]:
    """The resources of a worker, and how many workers there can be."""
    found: dict[str, float] = ray.cluster_resources()
    if found.get("GPU", 0) > 0:
        gpus = options.gpus_per_job
        return {"num_cpus": 1, "num_gpus": gpus}, max(1, int(found["GPU"] / gpus))
    return {"num_cpus": 1}, max(1, int(found.get("CPU", 1)))


def last_line(problem: Exception) -> str:
    """What an exception of Ray's says in the end."""
    return excerpt((str(problem).strip().splitlines() or ["no message"])[-1], 300)
