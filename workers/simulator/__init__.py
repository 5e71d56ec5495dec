"""A stand-in for the inference providers, for sandboxes, tests and benchmarks.

The story of one call: ``server`` takes the bytes, ``wire`` makes a request of them, ``address``
tells which provider and path are meant, a dialect (``openai``, ``anthropic``, ``gemini``,
``bedrock`` and others) reads it as that provider would, ``faults`` chooses what goes wrong,
``answers`` decides what is said, ``script`` turns that into timed writes, and ``server`` plays
them while ``journal`` keeps the record.

It shares no code with the router's own dialects: a wrong translation must be visible here.
"""
