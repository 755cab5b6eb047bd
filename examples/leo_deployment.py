"""Two deployments of one flow: sluice deployment create leo_deployment.py"""

from sluice.deployments import DeploymentSpec
from sluice.flow_runners import SubprocessFlowRunner

DeploymentSpec(
    name="leonardo-deployment",
    flow_location="./leo_flow.py",
    tags=["tutorial", "test"],
    parameters={"name": "Leo"},
)

DeploymentSpec(
    name="marvin-deployment",
    flow_location="./leo_flow.py",
    tags=["tutorial", "dev"],
    flow_runner=SubprocessFlowRunner(),
    parameters={"name": "Marvin"},
)
