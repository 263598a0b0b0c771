"""The places of a plan, as the inventory knows them."""

from certwatch.model.certificate import Certificate
from certwatch.model.location import LocationURI
from certwatch.plugins.deployer import Target
from certwatch.remediation.records import Plan
from certwatch.remediation.stopped import StepFailed
from certwatch.remediation.world import World


def former_of(world: World, plan: Plan) -> Certificate:
    """Raises StepFailed: the inventory does not have it any more."""
    with world.reading() as reader:
        for entry in reader.certificate(plan.former.hex(), world.clock()):
            return entry.certificate
    raise StepFailed("the inventory has forgotten the former certificate")


def targets_of(world: World, plan: Plan, former: Certificate) -> dict[str, Target]:
    """Where the plan deploys, by URI. What is not known any more is absent."""
    found = {}
    with world.reading() as reader:
        for step in plan.steps:
            if step.kind == "deploy":
                served = reader.served(LocationURI(step.target))
                if served is not None:
                    found[step.target] = Target(served=served, former=former)
    return found
