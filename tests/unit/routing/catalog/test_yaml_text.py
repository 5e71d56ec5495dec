"""YAML as plain values with lines, and what is refused."""

from decimal import Decimal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from routing.catalog import yaml_text
from routing.catalog.yaml_text import DEPTH_MAX, TEXT_MAX_BYTES, YamlProblem, read_yaml


def test_values_keep_their_exact_text_and_type():
    text = b"a: 0.10\nb: 131072\nc: [x, 'yes', -3]\nd: {e: null, f: true}\ng: 2025-06-01\n"
    assert read_yaml(text).value == {
        "a": Decimal("0.10"),
        "b": 131_072,
        "c": ("x", "yes", -3),
        "d": {"e": None, "f": True},
        "g": "2025-06-01",
    }


def test_every_key_and_item_knows_its_line():
    found = read_yaml(b"a: 1\nb:\n  - c: 2\n    d: 3\n  - e\n")
    assert found.line_of(("b", 0, "d")) == 4
    assert found.line_of(("b", 1)) == 5
    assert found.line_of(("b", 0, "missing", "deeper")) == 3
    assert found.line_of(("nowhere",)) == 1


def test_nothing_is_nothing():
    assert read_yaml(b"").value is None
    assert read_yaml(b"# only a comment\n").value is None


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        pytest.param(b"a: 1\na: 2\n", 2, "duplicate key 'a'", id="duplicate key"),
        pytest.param(b"a: &x 1\nb: *x\n", 1, "anchors", id="anchor"),
        pytest.param(b"a: 1\nb: *x\n", 2, "anchors", id="alias without its anchor"),
        pytest.param(b"a: !!python/name:os.system x\n", 1, "tag", id="tag"),
        pytest.param(b"a: 1\nb: [\n", 3, "not valid YAML", id="syntax"),
        pytest.param(b"a: \xff\n", 1, "not UTF-8", id="bytes"),
        pytest.param(b"a: 1\nb: \xc3\x28\n", 2, "not UTF-8", id="bytes in line 2"),
        pytest.param(b"a: \x00\n", 1, "not valid YAML", id="control characters"),
        pytest.param(b"a: 1\n---\nb: 2\n", 3, "second document", id="two documents"),
        pytest.param(b"a: yes\n", 1, "true or false", id="yes"),
        pytest.param(b"country: NO\n", 1, "true or false", id="Norway"),
        pytest.param(b"a: 010\n", 1, "plain decimal", id="octal"),
        pytest.param(b"a: 1_000\n", 1, "plain decimal", id="underscores"),
        pytest.param(b"a: 1:30\n", 1, "plain decimal", id="sexagesimal"),
        pytest.param(b"a: .inf\n", 1, "plain decimal", id="infinity"),
        pytest.param(b"a: .nan\n", 1, "plain decimal", id="not a number"),
        pytest.param(b"a: 1.5e+9\n", 1, "plain decimal", id="exponent"),
        pytest.param(b"a: " + b"9" * 5_000, 1, "plain decimal", id="5,000 digits"),
        pytest.param(b"1: a\n", 1, "key is not text", id="number as key"),
        pytest.param(b"? [a]\n: b\n", 1, "key is not text", id="list as key"),
        pytest.param(b"x: " + b"[" * 60_000, 1, "nested", id="deep lists"),
        pytest.param(b"{" * 60_000, 1, "key is not text", id="deep mappings"),
        pytest.param(b"#" * (TEXT_MAX_BYTES + 1), 1, "larger", id="too large"),
    ],
)
def test_refused(text: bytes, line: int, message: str):
    with pytest.raises(YamlProblem, match=message) as caught:
        read_yaml(text)
    assert caught.value.line == line


def test_depth_is_bounded():
    assert read_yaml(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX).value != ()
    with pytest.raises(YamlProblem, match="levels deep"):
        read_yaml(b"[" * (DEPTH_MAX + 2) + b"]" * (DEPTH_MAX + 2))


@given(st.decimals(min_value=0, max_value=10**6, places=6))
def test_decimals_survive_exactly(number: Decimal):
    assert read_yaml(f"a: {number:f}".encode()).value == {"a": number}


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(content: bytes):
    line = 1
    try:
        read_yaml(content)
    except YamlProblem as problem:
        line = problem.line
    assert 1 <= line <= 202


def test_without_the_c_parser_the_same_is_read(monkeypatch: pytest.MonkeyPatch):
    text = b"a: 0.10\nb: [x, {c: true}]\n"
    with_c = read_yaml(text)
    monkeypatch.setattr(yaml_text, "_Loader", yaml.SafeLoader)
    assert read_yaml(text) == with_c
    with pytest.raises(YamlProblem, match="duplicate key"):
        read_yaml(b"a: 1\na: 2\n")
