"""A pytest plugin that asks for the full size: `pytest tests/money -p tests.money.full`."""
