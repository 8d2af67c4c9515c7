"""The errors of the tracking server; a message is one line for a person, without passwords."""

from __future__ import annotations


class ServerError(Exception):
    """The tracking server can't be started, or a command for it can't be done."""


class SettingsError(ServerError, ValueError):
    """Settings that make no server, or an unsafe one."""
