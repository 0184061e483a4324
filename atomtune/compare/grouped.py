"""What several runs have in common, said in one line."""

from collections.abc import Sequence

from ..runtime.units import counted

_RUNS, _FINDINGS = 3, 8  # that are named


def in_one_line(found: Sequence[tuple[str, str]], runs: int) -> str:
    """Findings about runs, each said once: "steps was 3, now 4 (all 4 runs); lr was 0.1, now 0.5 (castle/seed-0/lora)".

    Args:
        found: the name of a run and what was found about it.
        runs: how many there are in all.
    """
    by_finding: dict[str, list[str]] = {}
    for run, finding in found:
        by_finding.setdefault(finding, []).append(run)
    said = [f"{finding} ({_named(names, runs)})" for finding, names in list(by_finding.items())[:_FINDINGS]]
    if (left := len(by_finding) - len(said)) > 0:
        said.append(f"and {left} more")
    return "; ".join(said)


def _named(names: Sequence[str], runs: int) -> str:
    if len(names) == runs > 1:
        return f"all {counted(runs, 'run')}"
    rest = f" and {counted(len(names) - _RUNS, 'more run')}" if len(names) > _RUNS else ""
    return ", ".join(names[:_RUNS]) + rest
