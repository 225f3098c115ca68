"""The three verdicts of a finding. No state."""

from agent.check import Finding


def fine(part: str, text: str) -> Finding:
    """Nothing is to be done."""
    return Finding(part, fine=True, text=text)


def doubt(part: str, text: str) -> Finding:
    """It works, or may work, and a person should know all the same."""
    return Finding(part, fine=True, text=text, warning=True)


def fault(part: str, text: str) -> Finding:
    """It does not work until somebody does something."""
    return Finding(part, fine=False, text=text)
