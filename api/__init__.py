"""ACCEPT and STREAM: the only package that knows Flask."""
