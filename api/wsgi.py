"""What gunicorn loads: the application over real parts, built in each worker process."""

from __future__ import annotations

from prometheus_client import REGISTRY

from api.app import build, create_app
from routing import log
from routing.catalog.live import LiveCatalog
from routing.settings import Settings, environment, refuse_insecure

_settings = Settings.from_env()
refuse_insecure(_settings)
log.configure("web", _settings.log_level)
app = create_app(build(_settings, LiveCatalog.from_settings(_settings, environment()), REGISTRY))
