"""The public test kit: a workflow's spans as a tree, and a server of scripted models."""

from hush.testing.capture import Capture, capture_spans
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
    "Capture",
    "Disconnect",
    "ErrorReply",
    "Hang",
    "Malformed",
    "RecordedRequest",
    "Reply",
    "ScriptedLLMServer",
    "SpanTree",
    "capture_spans",
)
