"""What is asked of a Swarm manager about one service: short calls that run in the engine's thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from serving_ctl.servers.container_calls import copy_folders, remove_copies
from serving_ctl.servers.container_spec import REST_PORT, USER
from serving_ctl.servers.swarm_spec import ServiceSpec
from serving_ctl.servers.swarm_tasks import Look, Node, Task, read_task

if TYPE_CHECKING:
    from docker import DockerClient

NS = 1_000_000_000
RESTART_DELAY_S = 1
MONITOR_S = 2  # after an update's last task was healthy, so long no task may fail
HEALTH_TIMEOUT_S = 5
STOP_GRACE_S = 2
SERVICE_ID_LABEL = "com.docker.swarm.service.id"


def create(client: DockerClient, spec: ServiceSpec) -> None:
    """Create the service; a left-over of the same name is removed."""
    name = spec.record.service
    remove(client, name)
    if spec.container.volumes:
        remove_copies(client, name)
        copy_folders(client, spec.container)
    _api(client).create_service(name=name, **_whole(client, spec, force=0))


def update(client: DockerClient, spec: ServiceSpec) -> None:
    """Replace every task by one of ``spec``, in Swarm's rolling update; one that fails is rolled back by Swarm."""
    name = spec.record.service
    if spec.container.volumes:
        copy_folders(client, spec.container)
    service = _service(client, name)
    force = service.attrs["Spec"]["TaskTemplate"].get("ForceUpdate", 0) + 1
    _api(client).update_service(service.id, service.version, name=name, **_whole(client, spec, force=force))


def roll_back(client: DockerClient, name: str) -> None:
    """Back to what ran before the last update."""
    service = _service(client, name)
    if before := service.attrs.get("PreviousSpec"):
        _respecify(client, service, before)


def scale(client: DockerClient, name: str, replicas: int) -> None:
    """Ask for so many tasks."""
    service = _service(client, name)
    # Not the SDK's scale: it sends the template anew in its own words, which Swarm takes for a change of every task.
    _respecify(client, service, service.attrs["Spec"] | {"Mode": {"Replicated": {"Replicas": replicas}}})


def find(client: DockerClient, name: str) -> Any:
    """The service ``name``; None when there is no such one, or the engine is in no Swarm any more."""
    import docker.errors

    try:
        return _service(client, name)
    except docker.errors.NotFound:
        return None
    except docker.errors.APIError:
        if client.info()["Swarm"]["LocalNodeState"] == "inactive":
            return None
        raise


def look(client: DockerClient, name: str, node: Node) -> Look | None:
    """How the service is now; None when there is none. ``node`` is the engine's own."""
    service = find(client, name)
    if service is None:
        return None
    nodes = {one["ID"]: _node(one, node) for one in client.api.nodes()}
    spec, status = service.attrs["Spec"], service.attrs.get("UpdateStatus") or {}
    ports = spec.get("EndpointSpec", {}).get("Ports") or [{}]
    listed = _api(client).tasks(filters={"service": name})
    return Look(
        replicas=spec["Mode"]["Replicated"]["Replicas"],
        image=spec["Labels"].get("tfserve-tui.image", ""),
        mesh=ports[0].get("PublishMode") == "ingress",
        update=status.get("State", ""),
        update_started=status.get("StartedAt", ""),
        tasks=tuple(sorted((read_task(task, nodes) for task in listed), key=Task.order)),
    )


def own_node(client: DockerClient, address: str) -> Node:
    """The node that the engine is; its tasks are reached at ``address``."""
    info = client.info()
    return Node(id=info["Swarm"]["NodeID"], name=info["Name"], address=address, here=True)


def remove(client: DockerClient, name: str) -> str:
    """Remove the service and return its id; nothing happens when there is none."""
    service = find(client, name)
    if service is None:
        return ""
    service.remove()
    return str(service.id)


def containers_of(client: DockerClient, service_id: str) -> int:
    """How many containers on the engine's node are the service's, ended ones too."""
    return len(
        client.containers.list(all=True, ignore_removed=True, filters={"label": f"{SERVICE_ID_LABEL}={service_id}"})
    )


def remove_containers(client: DockerClient, service_id: str) -> None:
    """Remove what Swarm left of a removed service on the engine's node."""
    for container in client.containers.list(
        all=True, ignore_removed=True, filters={"label": f"{SERVICE_ID_LABEL}={service_id}"}
    ):
        container.remove(force=True)


def service_log(client: DockerClient, name: str, lines: int) -> list[tuple[str, str, str]]:
    """(time, task id, text) of the last ``lines`` lines of each task, oldest first; nothing without the service."""
    service = find(client, name)
    if service is None:
        return []
    pieces = _api(client).service_logs(
        service.id, details=True, timestamps=True, stdout=True, stderr=True, tail=lines, is_tty=False
    )
    text = b"".join(pieces).decode(errors="replace")
    # Not splitlines: a carriage return within a line begins no new one, with a time of its own.
    return sorted(_log_line(line) for line in text.split("\n") if line)


def _log_line(line: str) -> tuple[str, str, str]:
    """A line is TIME DETAILS TEXT, the details being NAME=VALUE with commas between."""
    time, _, rest = line.partition(" ")
    details, _, text = rest.partition(" ")
    pairs = dict(pair.partition("=")[::2] for pair in details.split(","))
    return time, pairs.get("com.docker.swarm.task.id", ""), text


def _api(client: DockerClient) -> Any:
    """The SDK's lower layer, whose Swarm part has no types."""
    return client.api


def _service(client: DockerClient, name: str) -> Any:
    services: Any = client.services
    return services.get(name)


def _respecify(client: DockerClient, service: Any, spec: Mapping[str, Any]) -> None:
    """Give the service the whole of ``spec``, in the API's words."""
    _api(client).update_service(
        service.id,
        service.version,
        name=spec["Name"],
        labels=spec["Labels"],
        task_template=spec["TaskTemplate"],
        mode=spec["Mode"],
        update_config=spec.get("UpdateConfig"),
        rollback_config=spec.get("RollbackConfig"),
        endpoint_spec=spec.get("EndpointSpec"),
    )


def _node(attributes: Mapping[str, Any], own: Node) -> Node:
    if attributes["ID"] == own.id:
        return own
    address = attributes["Status"].get("Addr", "")
    return Node(id=attributes["ID"], name=attributes["Description"]["Hostname"], address=address, here=False)


def _whole(client: DockerClient, spec: ServiceSpec, force: int) -> dict[str, Any]:
    """All that makes the service, for creating and for updating it."""
    from docker.types import EndpointSpec, RollbackConfig, ServiceMode, UpdateConfig

    rolling: dict[str, Any] = {"order": spec.update_order, "monitor": MONITOR_S * NS, "max_failure_ratio": 0.0}
    port: dict[str, Any] = {"Protocol": "tcp", "TargetPort": REST_PORT, "PublishMode": "host"}
    if spec.mesh:
        port |= {"PublishMode": "ingress", "PublishedPort": spec.container.port}
    return {
        "labels": {**spec.container.labels, "tfserve-tui.image": spec.container.image},
        "task_template": _template(client, spec, force),
        "mode": ServiceMode("replicated", spec.replicas),
        "update_config": UpdateConfig(spec.update_parallelism, failure_action="rollback", **rolling),
        "rollback_config": RollbackConfig(parallelism=0, failure_action="pause", **rolling),
        "endpoint_spec": EndpointSpec(ports=[port]),
    }


def _template(client: DockerClient, spec: ServiceSpec, force: int) -> dict[str, Any]:
    from docker.types import ContainerSpec, Healthcheck, Mount, Placement, Resources, RestartPolicy, TaskTemplate
    from docker.utils import parse_bytes

    container = spec.container
    kind: Literal["volume", "bind"] = "volume" if container.volumes else "bind"
    mounted = zip(container.sources(), container.mounts, strict=True)
    health = Healthcheck(
        test=spec.health_test,
        interval=int(spec.health_interval_s * NS),
        timeout=HEALTH_TIMEOUT_S * NS,
        retries=3,
        start_period=int(spec.start_period_s * NS),
    )
    resources = Resources(mem_limit=int(parse_bytes(container.memory)) if container.memory else None)
    resources.setdefault("Limits", {})["Pids"] = container.pids_limit  # the SDK has no name for it
    task = ContainerSpec(
        _fixed_image(client, container.image),
        args=list(container.command),
        env=dict(container.environment),
        labels=dict(container.labels),
        mounts=[
            *(Mount(target, source, type=kind, read_only=True) for source, (_, target) in mounted),
            Mount("/tmp", None, type="tmpfs"),  # noqa: S108
        ],
        user=USER,
        read_only=True,
        init=True,
        cap_drop=["ALL"],
        healthcheck=health,
        stop_grace_period=STOP_GRACE_S * NS,
    )
    task["Privileges"] = {"NoNewPrivileges": True}  # nor for this; engines before 25 pass over it
    return TaskTemplate(
        task,
        resources=resources,
        restart_policy=RestartPolicy("any", delay=RESTART_DELAY_S * NS),
        # A volume is on the engine's own node: anywhere else Docker would make an empty one.
        placement=Placement(
            constraints=[f"node.id=={client.info()['Swarm']['NodeID']}"] if container.volumes else None
        ),
        force_update=force,
    )


def _fixed_image(client: DockerClient, image: str) -> str:
    """The very image that the manager has, so that nothing is pulled there and every node runs the same.

    By digest; one that was never in a registry by its id, or by its tag where other nodes have it too.
    """
    found = client.images.get(image)
    digests = found.attrs.get("RepoDigests") or []
    if digests:
        return str(digests[0])
    return str(found.id) if len(client.api.nodes()) == 1 else image
