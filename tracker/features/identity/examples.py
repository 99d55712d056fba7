"""Examples of logging in and out for the API's document, and the usual problems of all routes for customers."""

from typing import Final

from litestar.openapi.spec import SecurityScheme

from tracker.features.identity.domain import LOG_IN, LOGIN_MAX_AGE_S, NO_LOGIN, NO_ORIGIN, RETURN_ADDRESS_RULE
from tracker.features.identity.dto import Me
from tracker.features.identity.service import NO_CUSTOMERS
from tracker.web.openapi.examples import Examples, location

_STRING: Final = {"type": "string"}

_ORIGIN: Final = {
    "in": "header",
    "name": "Origin",
    "description": "Tracker's own origin, as browsers send it: no other site's page may log a customer out.",
    "required": True,
    "schema": {**_STRING, "examples": ["https://tracker.example"]},
}

_LOGIN: Final = {
    "in": "cookie",
    "name": "login",
    "description": f"What `/login` has set, for {LOGIN_MAX_AGE_S // 60} minutes;"
    " over https its name is `__Host-login`.",
    "required": True,
    "schema": _STRING,
}

EXAMPLES: Final = Examples(
    tags={"identity": "Logging in at an OpenID Connect provider, and out."},
    tag_places={"identity": 5},
    bodies=[Me("anna")],
    fields={"logIn": ("return_to", RETURN_ADDRESS_RULE), "logOut": ("return_to", RETURN_ADDRESS_RULE)},
    usual_problems={
        401: LOG_IN,
        403: NO_ORIGIN,
        501: NO_CUSTOMERS,
    },
    problems={("comeBack", 400): NO_LOGIN},
    headers={
        ("logIn", 302): {"Location": location("The identity provider")},
        ("comeBack", 303): {"Location": location("`return_to`")},
        ("logOut", 303): {"Location": location("`return_to`")},
    },
    security_schemes={
        "token": SecurityScheme(
            type="http",
            scheme="bearer",
            bearer_format="JWT",
            description="A token of the identity provider's that is made out to TRACKER_OIDC_AUDIENCE.",
        ),
        "session": SecurityScheme(
            type="apiKey",
            security_scheme_in="cookie",
            name="session",
            description="What /login sets; over https its name is __Host-session.",
        ),
    },
    parameters={"logOut": [_ORIGIN], "comeBack": [_LOGIN]},
)
