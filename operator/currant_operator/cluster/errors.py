"""The errors that a call to the API server may raise."""

from __future__ import annotations

import json


class LoginError(Exception):
    """The operator found neither a service account nor a usable KUBECONFIG; the message says so."""


class ApiError(Exception):
    """The API refused a call, or could not be reached (`status` 0). The text is the API's own message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def missing(self) -> bool:
        """Whether the object does not exist."""
        return self.status == 404

    @property
    def refused(self) -> bool:
        """Whether the same call would fail again: the object is invalid, or forbidden by a quota or a role."""
        # A value that cannot be parsed (memory: lots) is answered to an apply as an internal error.
        unreadable = self.status == 500 and "unable to convert" in str(self)
        return self.status in (400, 403, 422) or unreadable

    @property
    def terminating(self) -> bool:
        """Whether the namespace is gone, or is being deleted with everything in it."""
        gone = self.status == 404 and str(self).startswith("namespaces ")
        return gone or (self.status == 403 and "because it is being terminated" in str(self))


class NotLeading(Exception):
    """This process no longer leads and must not write."""


def refusal(status: int, body: str) -> ApiError:
    """The error in an answer of the API server, or of a proxy or a balancer that answers for it."""
    try:
        answer = json.loads(body)
        reason, message = str(answer.get("reason", "Unknown")), str(answer["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        reason, message = "Unknown", body.strip()[:500]
    return ApiError(status, reason, message or f"HTTP status {status}")
