"""The failure table of docs/operations.md quotes what the agent says: every quoted word is in its code."""

import ast
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.engines import _causes, _refusals
from agent.errors import Cause, EngineError
from agent.flow import Reason
from agent.readiness import Trouble

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("## What you see, what it means, what to do")[2].partition("\n## ")[0]
GROUPS = ("The agent as a whole", "Cameras", "The link and the hosted API", "Sinks: brokers, webhooks, files", "Disk")
GROUPS += ("Models", "Clock", "Power and heat")
ALERTS = [
    rule["alert"]
    for group in yaml.safe_load((REPOSITORY / "config/monitoring/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
HOLE, END = "\0", "\1"
"""What an f-string puts in (`%s` and `{name}` stand for themselves), and what stands between two strings."""


def rows() -> list[list[str]]:
    """The cells of each row."""
    lines = [line for line in TABLE.splitlines() if line.startswith("| ") and not line.startswith("| you see")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def quotes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


SEEN = [quote for row in rows() for quote in quotes(row[0])]
WORDS = sorted({quote for quote in SEEN if re.fullmatch(r"\w+", quote)})
MESSAGES = sorted({quote for quote in SEEN if not re.fullmatch(r"\w+", quote)})


def templates() -> Iterator[str]:
    """Every string of the agent that is not a docstring, with HOLE for what differs."""
    for path in sorted((REPOSITORY / "agent").glob("**/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values]
                skipped |= {id(part) for part in node.values}
                yield "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
                yield node.value


CODE = END.join(sorted(set(templates())))


def in_code(quote: str) -> re.Pattern[str]:
    """Finds a quotation in CODE; `...` is for what differs, not for words that are left out."""
    hole = r"(?:\0|%[.\d]*\w|\{\w*\})(?:[^\0\1]*\0)*?"
    return re.compile(hole.join(map(re.escape, quote.split("..."))), re.DOTALL)


def in_words(quote: str) -> re.Pattern[str]:
    """Finds a quotation in what was said."""
    return re.compile(".+".join(map(re.escape, quote.split("..."))), re.DOTALL)


@pytest.mark.parametrize("quote", MESSAGES)
def test_every_message_that_is_quoted_is_in_the_code(quote: str) -> None:
    assert max(map(len, quote.split("..."))) >= 9, "too little of it to be found"
    assert in_code(quote).search(CODE)


@pytest.mark.parametrize(
    "quote", ["the API key is not accepted at all", "camera is offline", "camera ... offline", "nobody says this here"]
)
def test_that_check_finds_what_nobody_says(quote: str) -> None:
    assert not in_code(quote).search(CODE)


def test_single_words_are_alerts_causes_and_what_metrics_have() -> None:
    known = {*ALERTS, *(cause.value for cause in Cause), *(trouble.value for trouble in Trouble)}
    assert set(WORDS) <= known


def test_every_alert_cause_and_trouble_has_its_row() -> None:
    wanted = {*ALERTS, *(cause.value for cause in Cause), *(trouble.value for trouble in Trouble)}
    assert wanted <= set(WORDS)


def test_there_are_enough_rows_in_every_group_and_no_cell_is_empty() -> None:
    assert re.findall(r"^### (.+)$", TABLE, re.MULTILINE) == list(GROUPS)
    sections = re.split(r"^### .+$", TABLE, flags=re.MULTILINE)[1:]
    assert min(section.count("\n| ") - 1 for section in sections) >= 4
    assert len(rows()) >= 40
    assert [row for row in rows() if len(row) != 3 or not all(row)] == []


def test_no_message_is_explained_twice() -> None:
    assert sorted({quote for quote in MESSAGES if SEEN.count(quote) > 1}) == []


# Real errors


def certificate(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_code, error.verify_message = code, "as OpenSSL has it"
    return error


def handshake() -> ssl.SSLError:
    error = ssl.SSLError(1, "handshake failure")
    error.reason = "SSLV3_ALERT_HANDSHAKE_FAILURE"
    return error


def refusal(status: int, *, workflow: bool = False) -> EngineError:
    asked = _refusals.Asked("model coco/3", is_workflow=workflow)
    return _refusals.error_of(asked, status, said="its words", where="portal.example", retry_after_s=None)


def broken(error: Exception) -> EngineError:
    found = _causes.named(error, "api.example")
    assert found is not None
    return found


REAL = [refusal(status) for status in (400, 401, 402, 403, 404, 413, 423, 429, 500, 503, 511)]
REAL += [refusal(422, workflow=True)]
REAL += [broken(certificate(code)) for code in (10, 62, 18)]
REAL += [broken(socket.gaierror("no")), broken(handshake()), broken(TimeoutError())]


@pytest.mark.parametrize("error", REAL, ids=str)
def test_what_the_hosted_api_and_the_way_there_do_has_a_row_with_its_cause(error: EngineError) -> None:
    (row,) = [
        row
        for row in rows()
        if any(quote in MESSAGES and in_words(quote).search(str(error)) for quote in quotes(row[0]))
    ]
    assert error.cause.value in quotes(row[0])


# The rest of the page


def test_the_reasons_that_the_page_shows_are_reasons() -> None:
    shown = set(re.findall(r"\((http_\w+)\)", PAGE)) | set(re.findall(r"^gate: cloud (\w+)", PAGE, re.MULTILINE))
    assert shown
    assert shown <= {reason.value for reason in Reason}
