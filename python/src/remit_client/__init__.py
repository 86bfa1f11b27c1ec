"""An agent's side of Remit: questions asked for one person, approvals, and errors that say what to do."""

from ._tokens import TokenCache
from .conversation import conversation, current_session
from .errors import (
    ActorUnauthorized,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalRequired,
    ConnectionRequired,
    GrantedDiffers,
    InsufficientScope,
    NoPerson,
    NotFound,
    RateLimited,
    RemitError,
    SignInRequired,
    Unavailable,
    WrongPerson,
)
from .keys import ClientKey, ProofKey
from .models import Approval, ApprovalAsked, CollectionList, Document, Passage, RetrieveAnswer
from .session import Approvals, Remit, Session, find_issuer
from .sources import DeviceFlow, Exchange, StaticToken

__all__ = [
    "ActorUnauthorized",
    "Approval",
    "ApprovalAsked",
    "ApprovalDenied",
    "ApprovalExpired",
    "ApprovalRequired",
    "Approvals",
    "ClientKey",
    "CollectionList",
    "ConnectionRequired",
    "DeviceFlow",
    "Document",
    "Exchange",
    "GrantedDiffers",
    "InsufficientScope",
    "NoPerson",
    "NotFound",
    "Passage",
    "ProofKey",
    "RateLimited",
    "Remit",
    "RemitError",
    "RetrieveAnswer",
    "Session",
    "SignInRequired",
    "StaticToken",
    "TokenCache",
    "Unavailable",
    "WrongPerson",
    "conversation",
    "current_session",
    "find_issuer",
]
