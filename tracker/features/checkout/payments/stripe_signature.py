"""The signature of Stripe's webhooks: its header, and its rule. What shows them does not load Stripe's library."""

from typing import Final

SIGNATURE_HEADER: Final = "Stripe-Signature"

SIGNATURE_TOLERANCE_S: Final = 300
"""Maximum age of a webhook, in seconds; Stripe signs each delivery anew."""

SIGNATURE_RULE: Final = f"must be a signature of this body by Stripe, at most {SIGNATURE_TOLERANCE_S} seconds old"

NO_WEBHOOKS: Final = "webhooks of Stripe need TRACKER_STRIPE_WEBHOOK_SECRET"
