"""What is wrong with a certificate is said with what a person can do, in the words of the sink."""

import ssl
from pathlib import Path

import pytest

from agent.trust import distrust


@pytest.mark.parametrize(
    ("code", "ca_file", "words"),
    [
        (20, None, "that does not come from a CA of this system (Debian: ca-certificates); set tls.ca_file to"),
        (19, Path("/ca.pem"), "that does not come from the CA in /ca.pem; set tls.ca_file to"),
        (62, None, "for another name; check host"),
        (64, None, "for another name; check host"),
        (10, None, "that has expired; renew it, or set this device's clock"),
        (9, None, "that is not valid yet; set this device's clock"),
        (23, None, "that is not trusted: certificate revoked; check tls.ca_file"),
    ],
)
def test_each_fault_of_a_certificate_says_what_to_do(code: int, ca_file: Path | None, words: str) -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, "certificate revoked"
    assert distrust(error, ca_file, key="tls.ca_file", other_name="check host").startswith(words)
