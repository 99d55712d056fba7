"""Declarations for routes that need a customer.

`customer: CurrentCustomer` among its parameters, `**FOR_CUSTOMERS` among its options: then a request of nobody is
answered with 401 before the route is called, and no cache keeps what a customer is shown.
"""

from typing import Any, Final

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from tracker.features.identity.domain import Customer
from tracker.web.middleware.responses import NotStored
from tracker.web.problems import problem_spec

CurrentCustomer = NamedDependency[SkipValidation[Customer]]
"""The customer who sent the request; `identity.routes.customer_of_request` finds that out."""

CUSTOMER_PROBLEMS: Final = {
    401: problem_spec("Nobody is logged in, or the bearer token is not valid; WWW-Authenticate says more"),
    403: problem_spec("With a session cookie: the request may come from another site's page"),
    501: problem_spec("No identity provider is set"),
    503: problem_spec("Something that is needed does not answer; try again after Retry-After seconds"),
}
"""The errors of every route that needs a customer, for its OpenAPI description."""


FOR_CUSTOMERS: Final[dict[str, Any]] = {"middleware": [NotStored], "security": [{"token": []}, {"session": []}]}
"""Options of the decorator of every route that needs a customer; the API's document says what the two schemes are."""
