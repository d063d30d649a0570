"""Resource: who sends, the same for spans, metrics and log lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

__all__ = ("resource_of",)


def resource_of(service_name: str | None) -> Resource:
    """Make the resource.

    Args:
        service_name: name of the service; None reads the variables, else ``hush``.
    """
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415  # the SDK is needed only here

    resource = Resource.create()
    if service_name is not None:
        return resource.merge(Resource({SERVICE_NAME: service_name}))
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: "hush"}))
    return resource
