"""The routes to log in and out, and to show the customer: HTTP in, `Identity` calls, HTTP out."""

from typing import Annotated, Final

from litestar import get, post
from litestar.datastructures import Cookie as SetCookie
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIType
from litestar.params import QueryParameter, SkipValidation
from litestar.response import Redirect

from tracker.features.carts.cookie import drop_cookie_header
from tracker.features.identity.cookie import Cookie
from tracker.features.identity.current_customer import CUSTOMER_PROBLEMS, FOR_CUSTOMERS, CurrentCustomer
from tracker.features.identity.domain import MAX_RETURN_ADDRESS_CHARS, RETURN_ADDRESS_PATTERN, Caller, Customer
from tracker.features.identity.dto import Me
from tracker.features.identity.service import Callback, Identity
from tracker.web.middleware.responses import NotStored
from tracker.web.problems import AnyRequest, problem_spec
from tracker.web.query_parameters import text_parameter

_LOGIN_ERRORS: Final = {
    400: problem_spec("The login cannot be begun or ended like this; the answer says why"),
    501: problem_spec("No identity provider is set, or Tracker is no client of it"),
    503: CUSTOMER_PROBLEMS[503],
}

_SETS_COOKIES = ResponseHeader(name="Set-Cookie", description="The login's and session's", documentation_only=True)

_RETURN_TO = text_parameter(
    "Path on this site to go to afterwards.",
    type=OpenAPIType.STRING,
    pattern=f"^{RETURN_ADDRESS_PATTERN}$",
    max_length=MAX_RETURN_ADDRESS_CHARS,
    examples=["/cart"],
)
Identities = NamedDependency[SkipValidation[Identity]]


def caller_of(request: AnyRequest) -> Caller:
    """Return the facts in a request about its sender."""
    headers = request.headers
    host = headers.get("host", "")
    return Caller(
        method=request.method,
        origin=f"{request.scope['scheme']}://{host}" if host else "",
        authorization=", ".join(
            headers.getall("authorization", [])
        ),  # two are no token: a proxy may have read the other
        cookies=tuple(headers.getall("cookie", [])),
        sent_origins=tuple(headers.getall("origin", [])),
        fetch_sites=tuple(headers.getall("sec-fetch-site", [])),
    )


async def customer_of_request(request: AnyRequest, identity: Identities) -> Customer:
    """Return the customer who sent the request: the dependency `customer`; raise what `Identity.customer_of` raises."""
    return await identity.customer_of(caller_of(request))


@get(
    "/login",
    status_code=302,
    summary="Log in",
    responses=_LOGIN_ERRORS,
    response_headers=[_SETS_COOKIES],
    middleware=[NotStored],
    tags=["identity"],
)
async def log_in(request: AnyRequest, identity: Identities, return_to: Annotated[str, _RETURN_TO] = "/") -> Redirect:
    """Send the browser to the identity provider, which sends it back to `/login/callback`."""
    caller = caller_of(request)
    to = await identity.start_login(caller, return_to)
    cookies = [_cookie(Cookie.LOGIN, to.cookie, to.max_age_s, caller)]
    return Redirect(to.location, status_code=302, cookies=cookies)


@get(
    "/login/callback",
    status_code=303,
    summary="Come back from the identity provider",
    responses=_LOGIN_ERRORS,
    response_headers=[_SETS_COOKIES],
    middleware=[NotStored],
    tags=["identity"],
)
async def come_back(
    request: AnyRequest,
    identity: Identities,
    # Litestar means the app's by `state`.
    login_state: Annotated[str | None, QueryParameter(name="state", description="As /login has sent it.")] = None,
    code: Annotated[str | None, QueryParameter(description="What the provider gives the customer's token for.")] = None,
    iss: Annotated[str | None, QueryParameter(description="The provider (RFC 9207).")] = None,
    error: Annotated[str | None, QueryParameter(description="Why the provider did not log the customer in.")] = None,
    error_description: Annotated[str | None, QueryParameter(description="The same in words.")] = None,
) -> Redirect:
    """Open a session for the browser that comes back from the identity provider."""
    caller = caller_of(request)
    callback = Callback(state=login_state, code=code, iss=iss, error=error, error_description=error_description)
    to = await identity.finish_login(caller, callback)
    cookies = [_cookie(Cookie.SESSION, to.cookie, to.max_age_s, caller), _cookie(Cookie.LOGIN, "", 0, caller)]
    return Redirect(to.location, status_code=303, cookies=cookies)


@post(
    "/logout",
    status_code=303,
    summary="Log out",
    responses={
        400: problem_spec("The return address is on another site"),
        403: CUSTOMER_PROBLEMS[403],
        501: CUSTOMER_PROBLEMS[501],
    },
    response_headers=[_SETS_COOKIES],
    middleware=[NotStored],
    tags=["identity"],
)
async def log_out(request: AnyRequest, identity: Identities, return_to: Annotated[str, _RETURN_TO] = "/") -> Redirect:
    """Drop the session and the cart from the browser, so that the next one to use it finds neither."""
    caller = caller_of(request)
    location = identity.log_out(caller, return_to)
    # Litestar's Cookie has no `Partitioned`.
    headers = {"Set-Cookie": drop_cookie_header(secure=caller.is_secure)}
    return Redirect(location, status_code=303, headers=headers, cookies=[_cookie(Cookie.SESSION, "", 0, caller)])


@get("/me", summary="Show who is logged in", responses=CUSTOMER_PROBLEMS, tags=["identity"], **FOR_CUSTOMERS)
async def who_am_i(customer: CurrentCustomer) -> Me:
    """Show whom the bearer token or the session cookie stands for."""
    return Me(customer.subject)


def _cookie(cookie: Cookie, value: str, max_age_s: int, caller: Caller) -> SetCookie:
    return SetCookie(
        key=cookie.name_for(secure=caller.is_secure),
        value=value,
        max_age=max_age_s,
        path="/",
        secure=caller.is_secure,
        httponly=True,
        samesite="lax",
    )
