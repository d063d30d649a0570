"""The public test kit: a workflow's spans as a tree, scripted models and scripted workers."""

from hush.testing.capture import Capture, capture_spans
from hush.testing.scripted_executor import (
    BreakEngine,
    Deliver,
    Fate,
    FreezeWorker,
    LoseWorker,
    ScriptedExecutor,
    SentCall,
)
from hush.testing.scripted_llm import ScriptedLLMServer
from hush.testing.scripted_replies import (
    Answer,
    Disconnect,
    ErrorReply,
    Hang,
    Malformed,
    RecordedRequest,
    Reply,
)
from hush.testing.span_tree import SpanTree

__all__ = (
    "Answer",
    "BreakEngine",
    "Capture",
    "Deliver",
    "Disconnect",
    "ErrorReply",
    "Fate",
    "FreezeWorker",
    "Hang",
    "LoseWorker",
    "Malformed",
    "RecordedRequest",
    "Reply",
    "ScriptedExecutor",
    "ScriptedLLMServer",
    "SentCall",
    "SpanTree",
    "capture_spans",
)
