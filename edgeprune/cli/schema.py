"""`edgeprune schema`: the published shape of a document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.core.errors import RequestError, did_you_mean

if TYPE_CHECKING:
    from edgeprune.core.document import Document


def schema(
    document: Annotated[str, typer.Argument(help="report, plan, target, recipe, comparison, ...")],
) -> None:
    """Print the JSON Schema of a document that edgeprune writes or reads."""
    known = _documents()
    if document not in known:
        raise RequestError(f"unknown document '{document}'", hint=did_you_mean(document, known))
    shape = known[document].model_json_schema(mode="serialization")
    shape["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    print(json.dumps(shape, indent=2))


def _documents() -> dict[str, type[Document]]:
    from edgeprune.core.application import Application
    from edgeprune.core.assets import Assets
    from edgeprune.core.bundle import Bundle, Signature
    from edgeprune.core.capsule import Capsule
    from edgeprune.core.comparison import Comparison
    from edgeprune.core.contents import Contents
    from edgeprune.core.device_run import DeviceRun, Job
    from edgeprune.core.diagnosis import Diagnosis
    from edgeprune.core.emulation import Emulation
    from edgeprune.core.explanation import Explanation
    from edgeprune.core.fleet import Fleet, Rollout
    from edgeprune.core.inspection import Inspection
    from edgeprune.core.packages.lock import PackageLock
    from edgeprune.core.plan import Plan, PlanDifference
    from edgeprune.core.profiling import Profiling
    from edgeprune.core.recipe import Recipe
    from edgeprune.core.report import Report
    from edgeprune.core.screening import Screening
    from edgeprune.core.shipment import ShelfStatus, Shipment
    from edgeprune.core.survey import Survey
    from edgeprune.core.target import Target
    from edgeprune.core.transcript import Transcript

    return {
        "application": Application,
        "assets": Assets,
        "bundle": Bundle,
        "capsule": Capsule,
        "capsule-lock": PackageLock,
        "comparison": Comparison,
        "contents": Contents,
        "device": Survey,
        "device-run": DeviceRun,
        "diagnosis": Diagnosis,
        "emulation": Emulation,
        "explanation": Explanation,
        "fleet": Fleet,
        "inspection": Inspection,
        "job": Job,
        "plan": Plan,
        "plan-difference": PlanDifference,
        "profile": Profiling,
        "recipe": Recipe,
        "report": Report,
        "rollout": Rollout,
        "screening": Screening,
        "shelf": ShelfStatus,
        "shipment": Shipment,
        "signature": Signature,
        "target": Target,
        "transcript": Transcript,
    }
