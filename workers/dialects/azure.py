"""Azure OpenAI: the OpenAI format at an address per deployment, with a key header of its own."""

from __future__ import annotations

from urllib.parse import quote

from routing.catalog.shapes import Endpoint
from routing.credentials import ApiKey, AzureKey, Credential
from routing.errors import UpstreamDenied
from workers.dialects.openai import OpenAIDialect, Target
from workers.dialects.openai_embeddings import OpenAIEmbeddings

#: The newest dated version. The last one that is no preview knows neither `reasoning_effort` nor
#: `verbosity` nor audio.
API_VERSION = "2025-04-01-preview"
_CHAT_PATH = "/chat/completions"


def azure_target(endpoint: Endpoint, credential: Credential, path: str) -> Target:
    """The address of an operation of a deployment.

    With a deployment's own key its URL is taken as it is, but for the operation in its path.

    Raises:
        UpstreamDenied: the credential is neither a plain key nor a deployment's.
    """
    match credential:
        case AzureKey():
            address, mark, query = credential.endpoint_url.partition("?")
            if address.endswith(_CHAT_PATH):
                address = address.removesuffix(_CHAT_PATH) + path
            url, model = address + mark + query, credential.model_id
        case ApiKey():
            model = endpoint.upstream_id
            url = (
                f"{endpoint.provider.base_url}/openai/deployments/{quote(model, safe='')}{path}"
                f"?api-version={API_VERSION}"
            )
        case _:
            raise UpstreamDenied("Azure takes an API key or the key of a deployment")
    return Target(url, {"api-key": credential.value}, model)


class AzureDialect(OpenAIDialect):
    """Chat completions of a deployment."""

    user_field = "user"

    def target(self, endpoint: Endpoint, credential: Credential, path: str) -> Target:
        """Where an operation of the deployment is."""
        return azure_target(endpoint, credential, path)


class AzureEmbeddings(OpenAIEmbeddings):
    """Embeddings of a deployment."""

    def target(self, endpoint: Endpoint, credential: Credential) -> Target:
        """Where the embeddings of the deployment are."""
        return azure_target(endpoint, credential, self.path)
