"""THE door to the workers: queue names, Celery's configuration, the doorbell. Open to api.

A Celery message is a doorbell: it carries a job id and nothing else. It may be lost or arrive
twice; the job record decides (`routing/store/jobs.py`).
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

import orjson

from routing.settings import Settings

ATTEMPT_TASK = "attempt.run.v1"
SETTLE_QUEUE = "settle"
SWEEP_QUEUE = "sweep"
#: Redis connections per worker process: one blocking read per queue set, publishes and control.
BROKER_MAX_CONNECTIONS = 64


def interactive_queue(pool: str) -> str:
    """The Celery queue of a provider pool, for requests somebody waits for."""
    return f"pool.{pool}"


def batch_queue(pool: str) -> str:
    """The Celery queue of a provider pool, for work accepted to be done later."""
    return f"batch.{pool}"


#: What Celery puts in the headers of a message by protocol 2; a contract test compares them with
#: those of a real `send_task`, so an upgrade that changes the protocol fails there.
_HEADERS: dict[str, Any] = {
    "lang": "py",
    "task": ATTEMPT_TASK,
    "root_id": None,
    "parent_id": None,
    "group": None,
    "group_index": None,
    "eta": None,
    "expires": None,
    "retries": 0,
    "timelimit": [None, None],
    "shadow": None,
    "argsrepr": "",
    "kwargsrepr": "",
    "origin": "pointsman",
    "ignore_result": True,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
}
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def doorbell(job_id: str, queue: str) -> str:
    """A ready Celery message for a Redis list, pushed by our scripts; a fifth of send_task."""
    body = base64.b64encode(orjson.dumps([[job_id], {}, _EMBED])).decode()
    return orjson.dumps(
        {
            "body": body,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {**_HEADERS, "id": job_id, "root_id": job_id},
            "properties": {
                "correlation_id": job_id,
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": f"{job_id}:{secrets.token_hex(4)}",
            },
        }
    ).decode()


def celery_config(settings: Settings) -> dict[str, Any]:
    """Celery's settings, each for a reason that was reproduced (docs/decisions/0002)."""
    return {
        "broker_url": settings.redis_url,
        # No result backend: answers travel as frames, charges through the outbox.
        "task_ignore_result": True,
        "task_acks_late": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_default_queue": SWEEP_QUEUE,
        "task_create_missing_queues": False,
        "task_routes": {"sweep.*": {"queue": SWEEP_QUEUE}},
        "task_send_sent_event": False,
        "worker_send_task_events": False,
        "worker_prefetch_multiplier": 1,
        "worker_disable_rate_limits": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        # Streams must outlive a short absence of Redis.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_limit": 10,
        "broker_transport_options": {
            # The job record makes acknowledgement pointless; emulating it is 9 times the commands.
            "ack_emulation": False,
            "priority_steps": [0],
            "queue_order_strategy": "round_robin",
            "socket_connect_timeout": 3,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "max_connections": BROKER_MAX_CONNECTIONS,
            "client_name": "pointsman-celery",
        },
        "timezone": "UTC",
    }


def queue_names(pools: tuple[str, ...]) -> list[str]:
    """Every queue there is; each is declared, so that a typo raises and makes no ghost list."""
    names = [SETTLE_QUEUE, SWEEP_QUEUE]
    for pool in pools:
        names += (interactive_queue(pool), batch_queue(pool))
    return names
