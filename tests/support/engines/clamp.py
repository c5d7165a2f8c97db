"""A stand-in for an OCI runtime that asks the kernel for no more than these machines give.

Without CAP_SYS_RESOURCE a runtime fails on all capabilities, a lower score of the out-of-memory
killer, and a higher limit than its own. The stand-in takes these out of the bundle's configuration
before it starts the runtime; where the capability is held it changes nothing.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

_CAP_SYS_RESOURCE = 24


def write(stand_in: Path, directory: Path, program: str) -> None:
    """Write a stand-in for a runtime.

    Args:
        stand_in: the file, which is to be mounted over the runtime.
        directory: where the runtime itself is copied to.
        program: the runtime's path.
    """
    real = directory / f"{stand_in.name}.real"
    shutil.copy(program, real)
    # The system's own Python: its path means the same in the engine's mount namespace.
    stand_in.write_text(
        "#!/bin/sh\n"
        'case " $* " in *" create "*|*" run "*)\n'
        f'    /usr/bin/python3 -I "{Path(__file__).resolve()}" "$@" || exit 1 ;;\n'
        "esac\n"
        f'exec "{real}" "$@"\n'
    )
    stand_in.chmod(0o755)


def bundle_of(arguments: list[str]) -> str:
    """The bundle that a runtime's command line means."""
    for index, word in enumerate(arguments):
        if word in {"-b", "--bundle"}:
            return arguments[index + 1]
        if word.startswith("--bundle="):
            return word.partition("=")[2]
    return "."


def clamp(process: dict[str, Any]) -> None:
    """Change the "process" of a configuration to what can be had here."""
    for names in (process.get("capabilities") or {}).values():
        if "CAP_SYS_RESOURCE" in names:
            names.remove("CAP_SYS_RESOURCE")
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        own_score = int(file.read())
    if "oomScoreAdj" in process:
        process["oomScoreAdj"] = max(process["oomScoreAdj"], own_score)
    for limit in process.get("rlimits") or ():
        hard = resource.getrlimit(getattr(resource, limit["type"]))[1]
        if hard != resource.RLIM_INFINITY:
            limit["hard"] = min(limit["hard"], hard)
            limit["soft"] = min(limit["soft"], limit["hard"])


def main() -> None:
    """Change the configuration of the bundle in the command line."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        bounding = next(line for line in file if line.startswith("CapBnd:"))
    if int(bounding.partition("\t")[2], 16) >> _CAP_SYS_RESOURCE & 1:
        return
    path = os.path.join(bundle_of(sys.argv[1:]), "config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    clamp(config.setdefault("process", {}))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)


if __name__ == "__main__":
    main()
