"""Who may do what: one reviewed row per method and route.

A route without a row fails `tests/unit/api/test_access_matrix.py`: decide who may use it, then add
the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

#: Of the API. `open`: anybody. `key`: any valid key. The other two: only a key of that kind.
ApiRight = Literal["open", "key", "inference", "management"]
#: Of pages. `page`: anybody. `person`: who is logged in. `admin`: who runs the account they act
#: for. `site`: who runs this installation.
PageRight = Literal["page", "person", "admin", "site"]
Right = ApiRight | PageRight

KEYED: tuple[Right, ...] = ("key", "inference", "management")
API: tuple[Right, ...] = ("open", *KEYED)
LOGGED_IN: tuple[Right, ...] = ("person", "admin", "site")
PAGES: tuple[Right, ...] = ("page", *LOGGED_IN)

#: Method and path: below the base paths for the API, whole for what has none.
RIGHTS: Mapping[tuple[str, str], Right] = {
    ("GET", "/livez"): "open",
    ("GET", "/readyz"): "open",
    ("GET", "/metrics"): "open",
    # The catalog.
    ("GET", "/models"): "open",
    ("GET", "/models/count"): "open",
    ("GET", "/model/<author>/<slug>"): "open",
    ("GET", "/models/<author>/<slug>/endpoints"): "open",
    ("GET", "/embeddings/models"): "open",
    ("GET", "/endpoints/zdr"): "open",
    ("GET", "/providers"): "open",
    ("GET", "/models/user"): "key",
    ("GET", "/parameters/<author>/<slug>"): "key",
    # What spends money.
    ("POST", "/chat/completions"): "inference",
    ("POST", "/completions"): "inference",
    ("POST", "/responses"): "inference",
    ("POST", "/messages"): "inference",
    ("POST", "/messages/count_tokens"): "inference",
    ("POST", "/embeddings"): "inference",
    # What a key knows of itself.
    ("GET", "/key"): "key",
    ("GET", "/auth/key"): "key",
    ("GET", "/generation"): "key",
    ("GET", "/generation/receipt"): "key",
    ("GET", "/generation/content"): "key",
    # What runs an account.
    ("GET", "/credits"): "management",
    ("POST", "/credits/checkout"): "management",
    ("GET", "/credits/payments"): "management",
    ("POST", "/credits/refund"): "management",
    ("POST", "/credits/coinbase"): "open",
    # Signed by the processor: without its secret it is 404.
    ("POST", "/webhooks/stripe"): "open",
    ("GET", "/activity"): "management",
    ("GET", "/generations"): "management",
    ("GET", "/preferences"): "management",
    ("PATCH", "/preferences"): "management",
    ("DELETE", "/account"): "management",
    ("GET", "/keys"): "management",
    ("POST", "/keys"): "management",
    ("GET", "/keys/<key_hash>"): "management",
    ("PATCH", "/keys/<key_hash>"): "management",
    ("DELETE", "/keys/<key_hash>"): "management",
    ("GET", "/byok"): "management",
    ("POST", "/byok"): "management",
    ("GET", "/byok/<key_id>"): "management",
    ("PATCH", "/byok/<key_id>"): "management",
    ("DELETE", "/byok/<key_id>"): "management",
    ("POST", "/byok/<key_id>/test"): "management",
    ("PUT", "/byok/order"): "management",
    ("GET", "/keys/<key_hash>/budgets"): "management",
    ("GET", "/keys/<key_hash>/budgets/<interval>"): "management",
    ("PUT", "/keys/<key_hash>/budgets/<interval>"): "management",
    ("DELETE", "/keys/<key_hash>/budgets/<interval>"): "management",
    ("GET", "/organization/members"): "management",
    ("POST", "/organization/members"): "management",
    ("PATCH", "/organization/members/<user_id>"): "management",
    ("DELETE", "/organization/members/<user_id>"): "management",
    ("GET", "/organization/members/<user_id>/budgets"): "management",
    ("GET", "/organization/members/<user_id>/budgets/<interval>"): "management",
    ("PUT", "/organization/members/<user_id>/budgets/<interval>"): "management",
    ("DELETE", "/organization/members/<user_id>/budgets/<interval>"): "management",
    ("GET", "/organization/budgets"): "management",
    ("GET", "/organization/budgets/<interval>"): "management",
    ("PUT", "/organization/budgets/<interval>"): "management",
    ("DELETE", "/organization/budgets/<interval>"): "management",
    # Applications. Who holds a code and its verifier is meant, so the exchange asks for no key.
    ("POST", "/auth/keys"): "open",
    ("POST", "/auth/keys/code"): "management",
    ("GET", "/apps"): "management",
    ("DELETE", "/apps/<app_id>"): "management",
    # Pages.
    ("GET", "/console.css"): "page",
    ("GET", "/login"): "page",
    ("POST", "/login"): "page",
    ("GET", "/login/oidc"): "page",
    ("GET", "/login/oidc/callback"): "page",
    ("POST", "/logout"): "page",
    ("GET", "/signup"): "page",
    ("POST", "/signup"): "page",
    ("GET", "/account"): "person",
    ("POST", "/account/switch"): "person",
    ("POST", "/account/name"): "person",
    ("POST", "/account/password"): "person",
    ("POST", "/account/logout-everywhere"): "person",
    ("POST", "/account/organizations"): "person",
    ("GET", "/account/keys"): "person",
    ("POST", "/account/keys"): "person",
    ("POST", "/account/keys/disabled"): "person",
    ("POST", "/account/keys/delete"): "person",
    ("GET", "/account/apps"): "person",
    ("POST", "/account/apps/revoke"): "person",
    ("GET", "/account/members"): "person",
    ("POST", "/account/members"): "admin",
    ("POST", "/account/members/role"): "admin",
    ("POST", "/account/members/remove"): "admin",
    ("GET", "/admin/accounts"): "site",
    ("POST", "/admin/accounts/grant"): "site",
    ("GET", "/auth"): "person",
    ("POST", "/auth"): "person",
}
