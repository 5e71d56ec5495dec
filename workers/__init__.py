"""ATTEMPT: the only package that knows Celery and talks to providers."""
