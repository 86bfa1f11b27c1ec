"""The person of a conversation, for frameworks that hand nothing on to what they call."""

from __future__ import annotations

import inspect
import sys
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from types import FrameType
from typing import Final

from .errors import NoPerson, WrongPerson
from .session import Session

_current: ContextVar[Session | None] = ContextVar("remit_session", default=None)


def conversation(session: Session) -> AbstractContextManager[Session]:
    """Everything in the ``with`` block, and whatever that awaits, is for the session's person.

    It follows the context (``contextvars``): tasks of asyncio get it, a bare new thread does not, and has
    nobody to work for. Within somebody else's conversation it raises WrongPerson.

    What is lazy, ``chain.stream(…)`` say, runs where it is read: read it inside the block. A generator may
    not open one (TypeError), for it shares its context with whoever reads it: there hand on the session with
    each call, ``for_person(session)``.
    """
    if not isinstance(session, Session):
        raise NoPerson(message="There is nobody for whom this could be done.", code="no_person")
    return _Conversation(session)


class _Conversation:
    def __init__(self, session: Session) -> None:
        self._session: Final = session
        self._tokens: list[Token[Session | None]] = []

    def __enter__(self) -> Session:
        if _is_generator(sys._getframe(1)):
            # While it is suspended its person would be everybody's.
            raise TypeError("A generator cannot open a conversation: use for_person(session) there.")
        around = _current.get()
        if around is not None and around.subject != self._session.subject:
            raise WrongPerson(message="The conversation around is somebody else's.", code="wrong_person")
        self._tokens.append(_current.set(self._session))
        return self._session

    def __exit__(self, *_: object) -> None:
        _current.reset(self._tokens.pop())


_enters: Final = {"__enter__", "__aenter__", "enter_context", "enter_async_context"}


def _is_generator(frame: FrameType | None) -> bool:
    """Whether the block stands in one, also by way of other context managers."""
    while frame is not None and frame.f_code.co_name in _enters:
        frame = frame.f_back
    return frame is not None and bool(
        frame.f_code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR)
    )


def current_session() -> Session:
    """The session of this conversation. Raises NoPerson outside of any."""
    session = _current.get()
    if session is None:
        raise NoPerson(message="This runs outside of any conversation.", code="no_person")
    return session
