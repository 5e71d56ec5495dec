"""SETTLE: the only package that knows SQLAlchemy."""
