"""docs/json.md names every key that the verbs print."""

import re
from dataclasses import fields
from pathlib import Path

from atomtune.captioning.captions import MadeCaption
from atomtune.compare.runs import Trained
from atomtune.compare.table import Line
from atomtune.demo.demo import DemoResult
from atomtune.doctor.checks import Health
from atomtune.evaluation.checkpoint_selection import Selection
from atomtune.evaluation.measure import Measures
from atomtune.export.merged_model import MergeResult
from atomtune.export.result import ExportResult, MergedAtoms
from atomtune.files.atoms_file import AtomsInfo
from atomtune.fleet.options import FleetRow
from atomtune.publish.publish import PublishResult
from atomtune.training.estimate import Estimate
from atomtune.training.make_masks import MadeMask, MadeMasks
from atomtune.training.prepare import Prepared, PreparedImage
from atomtune.training.record import TrainResult
from atomtune.training.runs import Learned
from atomtune.vision.metrics import ClassScore, Scores
from atomtune.vision.predict import Answer
from atomtune.vision.train import ClassifierResult

TEXT = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")


def documented(verb: str) -> set[str]:
    """Everything in code quotes in the section of a verb."""
    section = re.search(rf"## `atomtune {verb}`\n(.*?)(?=\n## |\Z)", TEXT, re.DOTALL)
    assert section is not None
    return set(re.findall(r"`([^`]+)`", section[1]))


def test_every_key_is_documented() -> None:
    assert {field.name for kind in (Prepared, PreparedImage) for field in fields(kind)} <= documented("prepare")
    assert {field.name for kind in (MadeMasks, MadeMask) for field in fields(kind)} <= documented("mask")
    assert {field.name for kind in (TrainResult, Estimate) for field in fields(kind)} <= documented("train")
    assert {field.name for field in fields(MadeCaption)} | {"captions"} <= documented("caption")
    assert {field.name for field in fields(ClassifierResult)} <= documented("classify train")
    assert {field.name for field in fields(Answer)} <= documented("classify predict")
    assert {field.name for kind in (Scores, ClassScore) for field in fields(kind)} <= documented("classify evaluate")
    assert {"layer", "threshold", "base_active", "active"} <= documented("classify explain")
    assert {field.name for field in fields(DemoResult)} <= documented("demo")
    assert {field.name for field in fields(AtomsInfo)} | {"kind", "trigger", "sha256"} <= documented("inspect")
    assert {"layers", "rows", "relative_error", "seconds", "path", "found"} <= documented("decompose")
    assert {"images", "seed", "grid", "output"} <= documented("sample")
    assert {field.name for kind in (Measures, Selection) for field in fields(kind)} <= documented("evaluate")
    assert {"report", "concept", "base", "real_fidelity", "checkpoints", "selected"} <= documented("evaluate")
    assert {"encoders", "preprocessing", "images", "file"} <= documented("evaluate")
    assert {field.name for field in fields(Line)} - {"figures"} <= documented("compare")
    assert {field.name for field in fields(Trained)} <= documented("compare")
    assert {"report", "output", "runs", "differences", "failures", "settings", "worth"} <= documented("compare")
    assert {field.name for kind in (MergeResult, MergedAtoms) for field in fields(kind)} <= documented("merge")
    assert {field.name for kind in (ExportResult, MergedAtoms) for field in fields(kind)} <= documented("export")
    assert {field.name for field in fields(PublishResult)} <= documented("publish")
    assert {field.name for field in fields(FleetRow)} | {"counts", "rows"} <= documented("fleet train")
    assert {"address", "concepts", "runs"} <= documented("serve")
    assert {field.name for field in fields(Learned)} | {"concepts", "ready", "sheet"} <= documented("concepts")
    assert {field.name for field in fields(Health)} | {"well"} <= documented("doctor")
