"""Which payment processor an operator has set up."""

from __future__ import annotations

from routing.payments import Processor
from routing.settings import Settings


def desk_of(settings: Settings) -> Processor | None:
    """The one that sells credit; None where none is sold."""
    if not settings.stripe_secret_key.get_secret_value():
        return None
    # Its library takes half a second to import, in every process.
    from routing.stripe_desk import StripeDesk  # noqa: PLC0415

    return StripeDesk.of(settings)
