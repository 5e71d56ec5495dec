"""`make faults`: real processes are killed, cut off and restarted, and what was lost is counted.

The story of one row: ``*_rows`` start calls (``trial``, ``calls``), do the damage to a
``tests.cluster.Cluster``, and hand everything to ``books``, which compares what each client saw
with the ledger and with what the simulator says. ``table`` prints it.
"""
