"""What a flow process runs: `python3 -m sluice.engine FLOW_RUN_ID`, started by an agent, or
`python3 -m sluice.engine --deployment DEPLOYMENT_ID`, a run of a deployment's code in this process.

Exit status: 0 when the end of the run was reported, whatever it was; 1 when it could not be; 2 for wrong usage; 143 when
the process was terminated.
"""
from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Optional, Tuple

    from sluice.client import Client
    from sluice.flows import Flow

USAGE = "usage: python3 -m sluice.engine FLOW_RUN_ID | --deployment DEPLOYMENT_ID [--parameters JSON]"


def load_flow(flow_data: Mapping[str, str], flow_name: Optional[str], client: Client) -> Tuple[Flow, str]:
    """The flow of a deployment and its version, from where its code is stored. Raises FlowLoadError or StorageError."""
    import json

    from sluice import loading, names, storage
    from sluice.errors import FlowLoadError

    if flow_data.get("encoding") == "sluice-command":
        raise FlowLoadError("the deployment is a plain command, which the agent runs itself, not a Python flow")
    if flow_data.get("encoding") == "sluice-flow":
        document: Any = flow_data
    else:
        text = storage.read(dict(flow_data), client)
        try:
            document = json.loads(text)
        except ValueError:
            document = None
    if not isinstance(document, dict) or document.get("encoding") != "sluice-flow":
        found = document.get("encoding") if isinstance(document, dict) else "unknown"
        raise FlowLoadError(f"what is stored is not flow code of this SDK (encoding {found!r}): create the deployment again")
    if document.get("language", "python") != "python":
        raise FlowLoadError(f"the flow is written in {document['language']}, not Python")
    source = document["blob"]
    flow = loading.load(source, document.get("path") or "flow.py", document.get("flow_name") or flow_name)
    return flow, names.fingerprint(source.encode())


def run_flow_run(id: str, lease: str, client: Client) -> int:
    """Runs a flow run that an agent was granted. Answers the process's exit status."""
    from sluice import flow_runs, interrupts, logs, parameters, runs
    from sluice.client import state_body
    from sluice.errors import LeaseLost, ParameterError, RunAborted, RunStopped, SluiceError
    from sluice.states import State

    body = client.read_flow_run(id)
    shipper = logs.shipper(client)
    logger = logs.RunLogger("sluice.flow_runs", f"Flow run {body['name']!r}", shipper, id)

    def end(message: str, error: BaseException, force: bool) -> int:
        from sluice import results

        shipper.flush(flow_runs.LOG_FLUSH_SECONDS)
        state = state_body("FAILED", message=message, data=results.encode_exception(error), flow_run_id=id)
        answer = client.set_flow_run_state(id, state, lease, force, body["state"]["id"])
        if answer.state is None:
            logger.error("The run was not marked as failed: %s", answer.reason, to_server=False, always_show=True)
            return 1
        logger.error("Finished in state %s", State.from_api(answer.state), to_server=False)
        return 0

    try:
        if not body.get("deployment_id"):
            raise SluiceError("the flow run has no deployment to take code from")
        deployment = client.read_deployment(body["deployment_id"])
        api_flow = client.read_flow(body["flow_id"])
        flow, version = load_flow(deployment["flow_data"], api_flow["name"], client)
    except Exception as error:
        exc_info = None if isinstance(error, SluiceError) else error
        logger.error("Flow could not be retrieved from deployment: %s", error, exc_info=exc_info)
        return end("Flow could not be retrieved from deployment.", error, force=True)
    client.update_flow_run(id, flow_version=version)
    try:
        bound = parameters.from_stored(flow.fn, body.get("parameters") or {})
        if flow.should_validate_parameters:
            bound = parameters.validate(flow.fn, bound)
    except Exception as error:
        known = isinstance(error, ParameterError)
        logger.error("Flow run received invalid parameters: %s", error, exc_info=None if known else error)
        return end("Flow run received invalid parameters.", error, force=False)
    run = flow_runs.FlowRun(flow, client, body, bound, lease=lease)
    try:
        if flow.is_async:
            import asyncio

            asyncio.run(runs.execute_async(run))
        else:
            runs.execute(run)
        return 0
    except RunAborted as error:
        print(error, file=sys.stderr)
        return 1
    except LeaseLost:
        return 1  # said by the run; nothing may be reported
    except SystemExit:
        return 0  # the flow ended the process itself; reported as Crashed
    except RunStopped:
        return interrupts.TERMINATED_STATUS
    except KeyboardInterrupt:
        return 130


def run_deployment(id: str, overrides: Dict[str, Any], client: Client) -> int:
    """Runs a deployment's code as a script would: a run of its own lease, that belongs to no deployment."""
    from sluice import calls, parameters, runs
    from sluice.errors import SluiceError
    from sluice.states import State

    deployment = client.read_deployment(id)
    api_flow = client.read_flow(deployment["flow_id"])
    try:
        flow, version = load_flow(deployment["flow_data"], api_flow["name"], client)
    except SluiceError as error:
        print(f"Flow could not be retrieved from deployment: {error}", file=sys.stderr)
        return 1
    flow._version = flow._version or version
    given = {**(deployment.get("parameters") or {}), **overrides}
    try:
        bound = parameters.from_stored(flow.fn, given)
    except SluiceError as error:
        print(f"The parameters do not fit the flow: {error}", file=sys.stderr)
        return 1
    run = calls.create(flow, bound)
    if isinstance(run, State):
        return 0
    if flow.is_async:
        import asyncio

        asyncio.run(runs.execute_async(run))
    else:
        runs.call(run)
    return 0


def main(arguments: List[str]) -> int:
    """The command line; answers the exit status."""
    import json

    from sluice import connection
    from sluice.errors import ApiError, RunStopped, SluiceError

    deployment, overrides, run_id = "", {}, ""
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("--deployment", "--parameters") and rest:
            value = rest.pop(0)
            if word == "--deployment":
                deployment = value
            else:
                try:
                    overrides = json.loads(value)
                    assert isinstance(overrides, dict)
                except (ValueError, AssertionError):
                    print("--parameters must be a JSON object", file=sys.stderr)
                    return 2
        elif not word.startswith("-") and not run_id:
            run_id = word
        else:
            print(f"{USAGE}\nunexpected argument: {word}", file=sys.stderr)
            return 2
    if bool(run_id) == bool(deployment):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        client = connection.client()
        if deployment:
            return run_deployment(deployment, overrides, client)
        # Neither is for processes that the flow starts.
        lease = os.environ.pop("SLUICE_LEASE_TOKEN", "")
        if os.environ.pop("SLUICE_ENGINE_CONSOLE", "") == "0":
            from sluice import logs

            logs.run_lines_on_console = False
        return run_flow_run(run_id, lease, client)
    except (SluiceError, ApiError) as error:
        what = f"deployment {deployment}" if deployment else f"flow run {run_id}"
        print(f"sluice.engine: {what}: {error}", file=sys.stderr)
        return 1
    except RunStopped as error:
        print(f"sluice.engine: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
