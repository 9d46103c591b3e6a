"""Passwords and tokens stay out of whatever is written down: the one redaction, at the border of journal and files.

Two kinds are known: what a URI holds (`//user:password@`, `?token=`), and the value of every environment variable whose
name says that it is one.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from typing import Any

_LOGIN = re.compile(r"(//[^/@:\s]*):(?:[^/?#]*@|[^@]*@)")
_LOGIN_IN_TEXT = re.compile(r"(//[^/@:\s]*):(?:[^/?#\s]*@|[^@\s]*@)")
_QUERY = re.compile(r"([?&](?:[^=&\s]*(?:password|passwd|pwd|token|secret)|odbc_connect)=)[^&\s'\"]*", re.IGNORECASE)
_NAMES = re.compile(r"PASSW|PWD$|PASSPHRASE|TOKEN|SECRET|CREDENTIAL|(API|ACCESS|PRIVATE|AUTH)_?KEY", re.IGNORECASE)
# Shorter ones are words such as `true`, or a path's.
_SHORTEST = 8


def without_passwords(text: str) -> str:
    """A URI, or a text with URIs in it, with `***` in the place of each password."""
    login = _LOGIN if re.match(r"[\w+.-]+://", text) else _LOGIN_IN_TEXT
    return _QUERY.sub(r"\1***", login.sub(r"\1:***@", text))


def redacted(value: Any) -> Any:
    """The same plain value with `***` in the place of every secret in its texts."""
    named = {v for k, v in os.environ.items() if _is_secret(k) and len(v) >= _SHORTEST and not v.startswith("/")}
    return _redacted(value, sorted(named, key=len, reverse=True))


@functools.cache
def _is_secret(name: str) -> bool:
    return _NAMES.search(name) is not None


def _redacted(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "***")
        return without_passwords(value) if "//" in value or "=" in value else value
    if isinstance(value, Mapping):
        return {key: _redacted(item, secrets) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(item, secrets) for item in value]
    return value
