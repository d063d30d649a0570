"""The public test kit: see what a workflow did, in tests, as a tree of spans."""

from hush.testing.capture import Capture, capture_spans
from hush.testing.span_tree import SpanTree

__all__ = ("Capture", "SpanTree", "capture_spans")
