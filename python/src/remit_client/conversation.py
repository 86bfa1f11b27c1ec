"""The person of a conversation, for frameworks that hand nothing on to what they call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import NoPerson
from .session import Session

_current: ContextVar[Session | None] = ContextVar("remit_session", default=None)


@contextmanager
def conversation(session: Session) -> Iterator[Session]:
    """Everything in the ``with`` block, and whatever that awaits, is for the session's person.

    It follows the context (``contextvars``): tasks of asyncio get it, a bare new thread does not, and has
    nobody to work for.
    """
    if not isinstance(session, Session):
        raise NoPerson(message="There is nobody for whom this could be done.", code="no_person")
    token = _current.set(session)
    try:
        yield session
    finally:
        _current.reset(token)


def current_session() -> Session:
    """The session of this conversation. Raises NoPerson outside of any."""
    session = _current.get()
    if session is None:
        raise NoPerson(message="This runs outside of any conversation.", code="no_person")
    return session
