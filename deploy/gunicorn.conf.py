"""gunicorn for the front door: gevent workers, thousands of open streams each."""

from gevent import monkey

monkey.patch_all()

from routing.settings import Settings

_settings = Settings.from_env()

bind = f"{_settings.host}:{_settings.port}"
worker_class = "api.server.FrontDoorWorker"
workers = _settings.web_workers
worker_connections = 2000
# A blocked event hub for this long is a dead worker; open streams never trip it.
timeout = 60
graceful_timeout = _settings.drain_hard_ms // 1000 + 5
# Longer than the idle time of usual proxies, so that it is they who close a connection.
keepalive = 75
# Each worker opens its own connections; nothing may be shared through a fork.
preload_app = False
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 16380
accesslog = None
errorlog = "-"
loglevel = "warning"
# The admin socket would be one more thing to guard.
control_socket_disable = True
