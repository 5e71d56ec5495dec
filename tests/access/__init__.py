"""Who may use which route: one reviewed table, the tests that hold every route against it, a page.

`python -m tests.access --write` writes docs/access.md.
"""
