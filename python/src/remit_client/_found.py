"""What retrievers of frameworks take of an answer."""

from __future__ import annotations

from .errors import Unavailable
from .models import Passage, RetrieveAnswer


def found(answer: RetrieveAnswer) -> list[Passage]:
    """Its passages. Raises Unavailable where it was cut short before anything was found.

    A list alone cannot say so, and a model would be told that nothing is there.
    """
    if not answer.results and not answer.complete:
        message = "The search was cut short before it found anything."
        raise Unavailable(message=message, code="unavailable", txn=answer.txn, retry_after=1)
    return answer.results
