"""`celery -A workers.app`: the Celery application and its tasks. Loading it connects to nothing."""

from __future__ import annotations

from celery import Celery
from kombu import Queue

from routing.catalog.live import LiveCatalog
from routing.settings import Settings, environment, refuse_insecure
from workers import cashier, sweep, tasks
from workers.lifecycle import Lifecycle
from workers.pools import celery_config, queue_names
from workers.process import Process


def make_app(settings: Settings, catalog: LiveCatalog) -> Celery:
    """A Celery application for these settings; `workers/lifecycle.py` says what it does."""
    celery = Celery("pointsman", set_as_current=False)
    celery.conf.update(celery_config(settings))
    # Queue objects: Flower reads their names.
    celery.conf.task_queues = [Queue(name) for name in queue_names(catalog.current.pools)]
    celery.conf.beat_schedule = sweep.SCHEDULE | cashier.SCHEDULE
    process = Process()
    tasks.register(celery, process)
    Lifecycle(settings, catalog, process).connect()
    return celery


_settings = Settings.from_env()
refuse_insecure(_settings)
celery = make_app(_settings, LiveCatalog.from_settings(_settings, environment()))
