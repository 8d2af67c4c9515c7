"""The server's database: its address taken apart, so that the password travels alone and in the environment."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from mlflow_server.errors import ServerError, SettingsError

Kind = Literal["sqlite", "postgresql", "other"]
_LIBPQ = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2")  # drivers that read PGPASSWORD
_COMING_UP = ("refused", "starting up", "shutting down", "timeout expired", "No such file", "translate host", "resolve")
VALID = "sqlite:////home/me/mlflow.db, or postgresql+psycopg://me@host/mlflow"


@dataclass(frozen=True, slots=True)
class Database:
    """Where runs and users are kept.

    Attributes:
        uri: SQLAlchemy's address; of PostgreSQL without the password.
        password: PostgreSQL's; "" for none, or for other databases.
    """

    uri: str = field(repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, uri: str) -> Database:
        """Takes an address apart; that of another database than PostgreSQL stays as it is."""
        parts = urlsplit(uri)
        if parts.scheme not in _LIBPQ or parts.password is None:
            return cls(uri)
        place = f"{parts.username or ''}@{parts.netloc.rpartition('@')[2]}"
        return cls(urlunsplit(parts._replace(netloc=place)), unquote(parts.password))

    @property
    def kind(self) -> Kind:
        """Which database it is."""
        scheme = urlsplit(self.uri).scheme
        return "postgresql" if scheme in _LIBPQ else "sqlite" if scheme == "sqlite" else "other"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that go with ``uri`` and ``libpq_uri``."""
        return {"PGPASSWORD": self.password} if self.password else {}

    @property
    def whole_uri(self) -> str:
        """The address with the password in it; for no eyes."""
        if not self.password:
            return self.uri
        parts = urlsplit(self.uri)
        user, _, place = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}:{quote(self.password, safe='')}@{place}"))

    @property
    def libpq_uri(self) -> str:
        """The address as PostgreSQL's own programs know it, without the password."""
        return "postgresql" + self.uri[self.uri.index(":") :]  # put together anew it would lose the slashes of no host

    @property
    def file(self) -> Path:
        """SQLite's file."""
        return Path(self.uri.removeprefix("sqlite:///"))

    def check(self) -> None:
        """Refuses a database that these commands don't know.

        Raises:
            SettingsError: It is neither a file of SQLite nor PostgreSQL.
        """
        if self.kind == "other" or (self.kind == "sqlite" and self.file.name in ("", ":memory:")):
            raise SettingsError(f"the database is {urlsplit(self.uri).scheme}://…; valid: {VALID}")

    def connect(self) -> Any:
        """A connection of psycopg's to PostgreSQL, each statement committed at once.

        Raises:
            ServerError: There is no answer, or no access.
        """
        try:
            import psycopg
        except ImportError:
            raise ServerError(
                "PostgreSQL needs the package psycopg; valid: pip install 'fmnist-sweep[server]'"
            ) from None
        try:
            return psycopg.connect(self.libpq_uri, password=self.password or None, autocommit=True, connect_timeout=5)
        except psycopg.Error as error:
            raise ServerError(f"PostgreSQL: {_line(error)}") from None

    def ask(self) -> None:
        """Finds out whether the database answers.

        Raises:
            ServerError: It doesn't.
        """
        if self.kind == "postgresql":
            with closing(self.connect()) as connection:
                connection.execute("SELECT 1")
        elif not self.file.is_file():
            raise ServerError(f"SQLite: there is no file {self.file}")

    def wait(self, patience_s: float) -> None:
        """Waits until PostgreSQL takes connections; a wrong password or name is no reason to wait.

        Raises:
            ServerError: It takes none.
        """
        deadline = time.monotonic() + patience_s
        while self.kind == "postgresql":
            try:
                self.ask()
            except ServerError as error:
                if time.monotonic() > deadline or not any(sign in str(error) for sign in _COMING_UP):
                    raise
                time.sleep(0.5)
            else:
                break

    def tables(self) -> list[str]:
        """Names of the tables there, PostgreSQL's own left out; of SQLite those of the database's files.

        Raises:
            ServerError: There is no answer.
        """
        if self.kind == "postgresql":
            with closing(self.connect()) as connection:
                rows = connection.execute(
                    "SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
                ).fetchall()
                return sorted(row[0] for row in rows)
        # A journal of a database that is gone would be played into the one that takes its place.
        journals = [self.file.with_name(f"{self.file.name}{end}") for end in ("-journal", "-wal", "-shm")]
        return [file.name for file in (self.file, *journals) if file.exists()]


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
