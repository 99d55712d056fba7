"""Stripe: a PaymentIntent for each order, created unconfirmed, confirmed once, asked about by its id.

The order's id is the key of both calls, so Stripe does neither twice however often it is sent. Stripe forgets
keys after a day; a payment is confirmed only once the order holds its id, and from then on nothing but the
intent's own state counts.

Nobody but Tracker can confirm: the intent's client secret is given to no browser. A payment that asks for the
customer's presence (3-D Secure) is refused for that reason.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
import stripe
from msgspec import Meta, Raw, Struct

from tracker.errors import InvalidInputError, NotConfiguredError
from tracker.features.checkout.payments.protocol import (
    CALLED_OFF,
    Charge,
    Notice,
    Outcome,
    Paid,
    Pending,
    ProcessorUnavailableError,
    Refused,
)
from tracker.features.checkout.payments.stripe_http import HTTPClient
from tracker.features.checkout.payments.stripe_signature import (
    NO_WEBHOOKS,
    SIGNATURE_HEADER,
    SIGNATURE_RULE,
    SIGNATURE_TOLERANCE_S,
)
from tracker.kit.text_rules import uuid_of

CALL_TIMEOUT_S: Final = 20.0
"""Seconds that a step may take in all: tries, waits between them, a second question."""

NETWORK_RETRIES: Final = 2
"""Number of times that the library tries again, after about 0.5 s, then 1 s, with the same key."""

MAX_REASON_CHARACTERS: Final = 500

ORDER: Final = "tracker_order_id"
"""Key under which the id of the order stands in the metadata of the intent."""

_UNCONFIRMED: Final = frozenset(
    {"requires_payment_method", "requires_confirmation", "requires_action", "requires_capture"}
)
"""States in which an intent can be canceled and has charged nothing."""

_NEEDS_CUSTOMER: Final = frozenset(
    {"authentication_required", "authentication_not_handled", "requires_action_not_handled"}
)
"""Error codes of a payment that the customer would have to confirm at the bank; Stripe's message is for programmers."""

_DECLINED: Final = "the payment was declined"
_NEEDS_CONFIRMATION: Final = (
    "the bank asks for a confirmation that this shop cannot pass on; use another payment method"
)
_NOT_TAKEN: Final = "the payment processor does not take this payment"

logger = logging.getLogger(__name__)


class _PaymentError(Struct):
    code: str | None = None
    message: str | None = None


class _Intent(Struct):
    id: Annotated[str, Meta(pattern=r"\Api_[0-9A-Za-z_]{1,250}\Z")]
    status: str
    metadata: dict[str, str] = {}
    last_payment_error: _PaymentError | None = None


class _Data(Struct):
    object: Raw


class _Event(Struct):
    type: str
    data: _Data


class StripeProcessor:
    """Charges customers by Stripe, with a client of its own."""

    name = "stripe"

    def __init__(self, secret_key: str, *, webhook_secret: str | None, url: str) -> None:
        """Use the API at `url`, with a key of visible ASCII characters."""
        self._webhook_secret = webhook_secret
        self._http = HTTPClient(timeout_s=CALL_TIMEOUT_S)
        client = stripe.StripeClient(
            secret_key,
            base_addresses={"api": url.rstrip("/")},
            max_network_retries=NETWORK_RETRIES,
            http_client=self._http,
        )
        self._intents = client.v1.payment_intents

    async def create_payment(self, charge: Charge) -> str | Refused:
        """Create the intent; an amount, currency or method that Stripe does not take is a refusal."""
        async with _in_time():
            try:
                intent = await self._intents.create_async(
                    {
                        "amount": charge.total,
                        "currency": charge.currency.lower(),
                        "payment_method": charge.method,
                        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                        "metadata": {ORDER: charge.order_id},
                    },
                    {"idempotency_key": f"{charge.order_id}:begin"},
                )
            except stripe.CardError as error:
                return _declined(error.code, error.user_message)
            except stripe.InvalidRequestError as error:
                return _not_taken(charge, error)
            return _checked(intent).id

    async def confirm(self, payment_id: str, charge: Charge) -> Outcome:
        """Confirm the intent."""
        try:
            async with _in_time():
                try:
                    intent = await self._intents.confirm_async(
                        payment_id,
                        {"error_on_requires_action": True},
                        {"idempotency_key": f"{charge.order_id}:confirm"},
                    )
                except stripe.CardError as error:
                    return _declined(error.code, error.user_message)
                except stripe.InvalidRequestError as error:
                    # This call has charged nothing; whether one before it has, the intent says.
                    fields = {"payment_id": payment_id, **_fields_of(error)}
                    logger.warning("Stripe does not confirm a payment", extra=fields)
                    return await self._conclude(payment_id)
                return _outcome(_checked(intent))
        except ProcessorUnavailableError:
            return Pending()

    async def conclude(self, payment_id: str) -> Outcome:
        """Look at the intent, and cancel it if it has not been confirmed."""
        async with _in_time():
            return await self._conclude(payment_id)

    async def _conclude(self, payment_id: str) -> Outcome:
        intent = _checked(await self._intents.retrieve_async(payment_id))
        if intent.status in _UNCONFIRMED:
            try:
                # With a key of its own each time: the answer must be about now.
                canceled = _checked(await self._intents.cancel_async(payment_id))
            except stripe.InvalidRequestError:
                # It was confirmed in between.
                intent = _checked(await self._intents.retrieve_async(payment_id))
            else:
                intent = msgspec.structs.replace(intent, status=canceled.status)
        return _outcome(intent)

    def parse_webhook(self, payload: bytes, signature: str) -> Notice | None:
        """Return the notice in a webhook that has the header `Stripe-Signature`."""
        if self._webhook_secret is None:
            raise NotConfiguredError(NO_WEBHOOKS)
        _verify(payload, signature, self._webhook_secret)
        try:
            event = msgspec.json.decode(payload, type=_Event)
            if event.type not in _NOTICES:
                return None
            intent = msgspec.json.decode(event.data.object, type=_Intent)
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidInputError("", f"the body must be an event of Stripe: {error}") from error
        order_id = intent.metadata.get(ORDER, "")
        if uuid_of(order_id) != order_id:
            return None
        paid = event.type == "payment_intent.succeeded"
        return Notice(order_id, intent.id, Paid() if paid else _refused(intent))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()


_NOTICES: Final = frozenset({"payment_intent.succeeded", "payment_intent.payment_failed", "payment_intent.canceled"})
"""Types of the events that say what has become of a payment."""


@contextlib.asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """Turn every failure to get a usable answer, time-outs included, into ProcessorUnavailableError."""
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            yield
    except TimeoutError as error:
        raise ProcessorUnavailableError("the payment processor did not answer in time") from error
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        logger.error("Stripe does not accept TRACKER_STRIPE_SECRET_KEY", extra=_fields_of(error))  # noqa: TRY400  # a line says it all
        raise ProcessorUnavailableError("payments cannot be taken now") from error
    except (stripe.StripeError, msgspec.ValidationError, RecursionError) as error:
        logger.warning("Stripe does not answer as it should", extra=_fields_of(error))
        raise ProcessorUnavailableError("the payment processor does not answer as it should") from error


def _checked(intent: stripe.PaymentIntent) -> _Intent:
    return msgspec.convert(intent.to_dict(), _Intent)


def _outcome(intent: _Intent) -> Outcome:
    if intent.status == "succeeded":
        return Paid()
    if intent.status in {"canceled", "requires_payment_method"}:
        return _refused(intent)
    return Pending()


def _refused(intent: _Intent) -> Refused:
    error = intent.last_payment_error
    return Refused(CALLED_OFF) if error is None else _declined(error.code, error.message)


def _declined(code: str | None, message: Any) -> Refused:  # noqa: ANN401  # the library's errors have no types
    if code in _NEEDS_CUSTOMER:
        return Refused(_NEEDS_CONFIRMATION)
    return Refused(str(message or _DECLINED).replace("\0", "")[:MAX_REASON_CHARACTERS])


def _not_taken(charge: Charge, error: stripe.InvalidRequestError) -> Refused:
    """Return the refusal of an invalid request; its reason tells only what the customer can correct."""
    if str(error.param).startswith("payment_method") or str(error.code).startswith("amount_"):
        return _declined(error.code, error.user_message)
    logger.error("Stripe does not take a payment", extra={"order_id": charge.order_id, **_fields_of(error)})
    return Refused(_NOT_TAKEN)


def _fields_of(error: Exception) -> dict[str, object]:
    """Return the fields of an error that may be logged; Stripe's texts quote keys and payment methods."""
    if isinstance(error, stripe.StripeError) and not isinstance(error, stripe.APIConnectionError):
        fields = {"code": error.code, "http_status": error.http_status, "stripe_request_id": error.request_id}
        return {"error": type(error).__name__, **fields}
    return {"error": f"{type(error).__name__}: {error}"}


def _verify(payload: bytes, signature: str, secret: str) -> None:
    try:
        # The library compares in constant time, which Python does not do for other characters.
        if signature.isascii() and stripe.WebhookSignature.verify_header(
            payload, signature, secret, SIGNATURE_TOLERANCE_S
        ):
            return
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        pass
    raise InvalidInputError(SIGNATURE_HEADER, SIGNATURE_RULE)
