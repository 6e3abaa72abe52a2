"""Whether a bundle's deployment settings were measured on a machine like this one."""

from __future__ import annotations

from pydantic import ValidationError

from onepath.contract.bundle import Bundle
from onepath.contract.processor import this_processor
from onepath.server.settings import usable_cores
from onepath.tuning.amending import REPORT
from onepath.tuning.machine import cores_text
from onepath.tuning.report import TuningReport


def measured_elsewhere(bundle: Bundle) -> str | None:
    """Return what to tell a person who deploys a tuned bundle on another machine; None where there is nothing to tell.

    Instances and threads that suit two cores waste a machine of sixty-four.

    Args:
        bundle: with the report of its tuning, or without.
    """
    report = f"reports/{REPORT}"
    if not bundle.manifest.deployment or report not in bundle.manifest.files:
        return None
    try:
        machine = TuningReport.model_validate_json((bundle.path / report).read_bytes()).context.machine
    except ValidationError:  # another release's, of which nothing is known
        where = "with another release of onepath"
    else:
        if (machine.cpu, machine.cores) == (this_processor().name, usable_cores()):
            return None
        where = f"on {cores_text(machine.cpu, machine.cores)}"
    here = cores_text(this_processor().name, usable_cores())
    return (
        f"the bundle's deployment settings were measured {where}, and this is {here}: `onepath tune {bundle.path}` on "
        "the machine that serves it, or give the options"
    )
