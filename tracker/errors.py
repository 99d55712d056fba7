"""The errors Tracker raises on purpose, one family, with no HTTP in it.

What an error means to a client (a status, a header) is decided once, in `tracker.web.problems`; what it
means to whoever starts the program (a line and an exit code) is decided in `tracker.cli.registry`.
"""


class TrackerError(Exception):
    """Base of every error that Tracker raises on purpose; `str(error)` is fit for a user to read."""


class ConfigurationError(TrackerError):
    """A setting, a folder or a program that Tracker needs at the start is wrong or missing."""


class StaleSchemaError(ConfigurationError):
    """The database's schema is not the one this version of Tracker was written for."""


class LostItemsError(TrackerError):
    """The process ended with items that were accepted and are stored nowhere."""


class InvalidInputError(TrackerError):
    """A request's content breaks a rule.

    `field` is the name the client used (empty for the document as a whole), `rule` says what is
    asked for.
    """

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field} {rule}" if field else rule)
        self.field = field
        self.rule = rule


class UnsupportedMediaTypeError(TrackerError):
    """The body is declared to be something other than JSON."""


class UnauthenticatedError(TrackerError):
    """Nobody is logged in, or the credentials that were sent prove nothing.

    `code` is the error of RFC 6750, empty when no credentials were sent.
    """

    def __init__(self, reason: str, *, code: str = "") -> None:
        super().__init__(reason)
        self.code = code


class ForbiddenError(TrackerError):
    """The request may not do this, whoever sends it."""


class NotFoundError(TrackerError):
    """The thing that a request names does not exist, or belongs to somebody else."""


class ConflictError(TrackerError):
    """The request does not fit the current state of what it is about."""


class KeyReusedError(TrackerError):
    """The idempotency key was used for something else before."""


class PaymentRefusedError(TrackerError):
    """The payment processor did not charge the customer; the message is its reason."""


class NotConfiguredError(TrackerError):
    """The request needs a setting that is missing; the message names it."""


class RateLimitedError(TrackerError):
    """More requests came from one address, or for one cart, than may; nothing was accepted.

    `limit` says which of the two, `quota` is how many requests may come at once, and `window_s` the seconds after which
    as many may come again. The next one may come after `retry_after_s` seconds.
    """

    retry_after_s = 1

    def __init__(self, limit: str, *, quota: int, window_s: int) -> None:
        super().__init__(
            f"too many requests: at most {quota // window_s} a second, and {quota} at once, are taken from one {limit}"
        )
        self.limit = limit
        self.quota = quota
        self.window_s = window_s


class UnavailableError(TrackerError):
    """Tracker cannot do this now; the same call may succeed after `retry_after_s` seconds."""

    retry_after_s = 1


class BufferFullError(UnavailableError):
    """The buffer holds as many bytes as it may; nothing was accepted."""


class JournalUnavailableError(UnavailableError):
    """The journal cannot keep the item now; nothing was accepted."""


class UnconfirmedError(UnavailableError):
    """The item was taken into `cart_id`, but is not as safe in time as the acknowledgement level asks.

    It is written as soon as possible; sending it again to the same cart is safe.
    """

    def __init__(self, cart_id: str, reason: str) -> None:
        super().__init__(f"{reason}; the item was taken and is written when it can be")
        self.cart_id = cart_id


class DatabaseUnavailableError(UnavailableError):
    """PostgreSQL did not answer in time."""
