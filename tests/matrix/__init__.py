"""Every inbound API with every provider's wire format and every feature, against a whole system.

The story of a cell: ``cells`` says what must come (``rows`` has the providers, ``features`` the
questions), ``trial`` asks it through the front door, ``asking`` and ``hearing`` speak and read each
inbound API in its own form, ``checks`` says what is wrong with what came. ``page`` writes
docs/compatibility.md from the same data: `python -m tests.matrix --write`.
"""
