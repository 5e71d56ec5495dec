"""Addresses at Google Vertex AI, which depend on project and region."""

from __future__ import annotations

import re
from urllib.parse import quote

from routing.catalog.shapes import Endpoint
from routing.credentials import GoogleToken
from routing.errors import UpstreamDenied

#: Where models run that no region is named for.
GLOBAL = "global"
#: Regions that are several data centres, with a domain of their own.
_MULTI = frozenset({"us", "eu"})
_REGIONAL_HOST = "{region}-aiplatform."
_REGION = re.compile(r"[a-z][a-z0-9-]{0,62}")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}")


def vertex_url(endpoint: Endpoint, credential: GoogleToken, publisher: str, method: str) -> str:
    """The address of a method of a model; the key's region goes over the endpoint's.

    Raises:
        UpstreamDenied: the key's region or project is no such name, and would change the address.
    """
    region, project = credential.region or endpoint.region or GLOBAL, credential.project
    if not _REGION.fullmatch(region) or not _PROJECT.fullmatch(project):
        raise UpstreamDenied("The key's project or region is not a valid name")
    base = _base(endpoint.provider.base_url, region).rstrip("/")
    model = quote(endpoint.upstream_id, safe="@")
    return (
        f"{base}/projects/{project}/locations/{region}/publishers/{publisher}"
        f"/models/{model}:{method}"
    )


def _base(template: str, region: str) -> str:
    """`https://{region}-aiplatform.googleapis.com/v1` with its region."""
    if region == GLOBAL:
        return template.replace(_REGIONAL_HOST, "aiplatform.").replace("{region}", region)
    if region in _MULTI:
        template = template.replace(_REGIONAL_HOST, f"aiplatform.{region}.rep.")
    return template.replace("{region}", region)
