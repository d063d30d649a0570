"""Language models as nodes: prompts, calls, and the resources that they go to.

Importing this loads neither the client nor the configuration; a graph that is made ready
to run does.
"""

from hush.providers.hub import ResourceHub
from hush.providers.images import image_part
from hush.providers.llm_chain_node import LLMChainNode
from hush.providers.llm_node import LLMNode
from hush.providers.prompt_node import PromptNode

__all__ = ("LLMChainNode", "LLMNode", "PromptNode", "ResourceHub", "image_part")
