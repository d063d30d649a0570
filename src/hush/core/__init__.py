"""Hush: workflows whose runs explain themselves.

Everything that a user needs to write and run one stands here; the machinery is beside
this package, not in it.
"""

from hush.core.engine import Hush
from hush.core.nodes.flow.branch_node import Branch, BranchNode
from hush.core.nodes.graph_node import GraphNode
from hush.core.nodes.iteration import ForLoopNode, MapNode, WhileLoopNode
from hush.core.nodes.iteration.base import Each, ItemFailure
from hush.core.nodes.transform.code_node import CodeNode, code_node
from hush.core.result import RunResult
from hush.core.stream import RunStream
from hush.errors import (
    ConditionError,
    ExecutorError,
    Failure,
    GraphError,
    HushError,
    InputError,
    JoinError,
    LLMCircuitError,
    LLMConnectionError,
    LLMError,
    LLMResponseError,
    LLMStatusError,
    LLMStreamError,
    LLMTimeoutError,
    LoopLimitError,
    MapSourceError,
    MissingValueError,
    NodeError,
    NodeTimeoutError,
    OutputError,
    PayloadError,
    Problem,
    PromptError,
    RemoteError,
    ResourceError,
    RunError,
    RunNotFinishedError,
    TelemetryError,
    ToleranceError,
    UnexpectedCancellationError,
    WorkerLostError,
)
from hush.model.contract import ChunkReceived, NodeContext
from hush.model.edge import END, PARENT, START
from hush.model.join import First, Quorum
from hush.model.node import Node
from hush.model.ref import Ref
from hush.model.retry import Retry
from hush.model.usage import Usage
from hush.runtime.events import (
    Event,
    ItemEnded,
    ItemStarted,
    NodeEnded,
    NodeStarted,
    RunEnded,
    RunStarted,
)
from hush.runtime.idempotency import idempotency_key
from hush.runtime.state import RunState

__all__ = (
    "END",
    "PARENT",
    "START",
    "Branch",
    "BranchNode",
    "ChunkReceived",
    "CodeNode",
    "ConditionError",
    "Each",
    "Event",
    "ExecutorError",
    "Failure",
    "First",
    "ForLoopNode",
    "GraphError",
    "GraphNode",
    "Hush",
    "HushError",
    "InputError",
    "ItemEnded",
    "ItemFailure",
    "ItemStarted",
    "JoinError",
    "LLMCircuitError",
    "LLMConnectionError",
    "LLMError",
    "LLMResponseError",
    "LLMStatusError",
    "LLMStreamError",
    "LLMTimeoutError",
    "LoopLimitError",
    "MapNode",
    "MapSourceError",
    "MissingValueError",
    "Node",
    "NodeContext",
    "NodeEnded",
    "NodeError",
    "NodeStarted",
    "NodeTimeoutError",
    "OutputError",
    "PayloadError",
    "Problem",
    "PromptError",
    "Quorum",
    "Ref",
    "RemoteError",
    "ResourceError",
    "Retry",
    "RunEnded",
    "RunError",
    "RunNotFinishedError",
    "RunResult",
    "RunStarted",
    "RunState",
    "RunStream",
    "TelemetryError",
    "ToleranceError",
    "UnexpectedCancellationError",
    "Usage",
    "WhileLoopNode",
    "WorkerLostError",
    "code_node",
    "idempotency_key",
)
