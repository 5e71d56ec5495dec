"""The doorbell our scripts push is a message Celery itself could have sent."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Queue
from redis import Redis

from routing.settings import Settings
from workers.pools import (
    ATTEMPT_TASK,
    BROKER_MAX_CONNECTIONS,
    batch_queue,
    celery_config,
    doorbell,
    interactive_queue,
    queue_names,
)

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]
QUEUE = interactive_queue("acme")
JOB = "gen-1764806400-abcdefghij0123456789"


@pytest.fixture
def broker(redis_url: str) -> str:
    return redis_url.replace("unix://", "redis+socket://")


@pytest.fixture
def real(broker: str, raw_list) -> dict[str, Any]:
    """What `send_task` puts into the queue, with our own configuration."""
    celery = Celery("test", set_as_current=False)
    celery.conf.update(celery_config(Settings(redis_url="redis://unused")))
    celery.conf.broker_url = broker
    celery.conf.broker_transport_options = {"ack_emulation": False, "priority_steps": [0]}
    celery.conf.task_queues = [Queue(QUEUE)]
    with celery.connection_for_write() as connection:
        celery.send_task(ATTEMPT_TASK, args=(JOB,), queue=QUEUE, connection=connection)
    return raw_list(QUEUE)


@pytest.fixture
def raw_list(redis_url: str):
    def read(queue: str) -> dict[str, Any]:
        with Redis.from_url(redis_url) as client:
            (message,) = client.lrange(queue, 0, -1)
        found: dict[str, Any] = json.loads(message)
        return found

    return read


def test_it_has_the_fields_of_a_real_message(real: dict[str, Any]):
    ours = json.loads(doorbell(JOB, QUEUE))

    assert set(ours) == set(real)
    assert set(ours["headers"]) == set(real["headers"])
    assert set(ours["properties"]) == set(real["properties"])
    assert ours["content-type"] == real["content-type"]
    assert ours["content-encoding"] == real["content-encoding"]


def test_it_has_the_values_of_a_real_message_where_they_matter(real: dict[str, Any]):
    ours = json.loads(doorbell(JOB, QUEUE))
    own = {"id", "root_id", "argsrepr", "kwargsrepr", "origin", "ignore_result"}

    for name in set(real["headers"]) - own:
        assert ours["headers"][name] == real["headers"][name], name
    for name in ("delivery_mode", "delivery_info", "priority", "body_encoding"):
        assert ours["properties"][name] == real["properties"][name], name
    for message in (ours, real):
        assert json.loads(base64.b64decode(message["body"]))[:2] == [[JOB], {}]
    assert set(json.loads(base64.b64decode(ours["body"]))[2]) == set(
        json.loads(base64.b64decode(real["body"]))[2]
    )


def test_a_consumer_can_read_it(broker: str, redis_url: str):
    with Redis.from_url(redis_url) as client:
        client.lpush(QUEUE, doorbell(JOB, QUEUE))

    with Connection(broker, transport_options={"ack_emulation": False}) as connection:
        queue = connection.SimpleQueue(Queue(QUEUE, routing_key=QUEUE))
        message = queue.get(timeout=5)
        message.ack()
        queue.close()

    assert message.payload[0] == [JOB]
    assert message.headers["task"] == ATTEMPT_TASK
    assert message.headers["id"] == message.properties["correlation_id"] == JOB


def test_two_bells_for_a_job_are_two_deliveries():
    first, second = (json.loads(doorbell(JOB, QUEUE)) for _ in range(2))

    assert first["properties"].pop("delivery_tag") != second["properties"].pop("delivery_tag")
    assert first == second


def test_every_pool_has_a_queue_for_those_who_wait_and_one_for_those_who_do_not():
    assert queue_names(("acme", "other")) == [
        "settle",
        "sweep",
        *(queue(pool) for pool in ("acme", "other") for queue in (interactive_queue, batch_queue)),
    ]


def test_the_settings_that_were_fought_for_stay():
    config = celery_config(Settings())

    assert config["broker_transport_options"]["ack_emulation"] is False
    assert config["broker_transport_options"]["max_connections"] == BROKER_MAX_CONNECTIONS
    assert config["worker_prefetch_multiplier"] == 1
    assert config["task_acks_late"] is False
    assert config["task_create_missing_queues"] is False
    assert config["worker_cancel_long_running_tasks_on_connection_loss"] is False
