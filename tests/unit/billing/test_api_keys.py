from __future__ import annotations

import hashlib

from billing.api_keys import hash_key, label_of

KEY = "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"


def test_the_hash_is_sha256_of_the_whole_key():
    assert hash_key(KEY) == hashlib.sha256(KEY.encode()).hexdigest()
    assert len(hash_key(KEY)) == 64


def test_the_label_shows_three_digits_at_either_end():
    assert label_of(KEY) == "sk-or-v1-0e6...c96"
