"""What schemathesis is kept from: ending the credential it comes with, and filling the computer."""

import os

import schemathesis

OWN = os.environ.get("BERTH_OWN", "").split()
MOST_MACHINES = 30


@schemathesis.hook
def before_call(context, case, kwargs):
    places = case.path_parameters or {}
    if case.method in ("PATCH", "DELETE") and case.path.startswith(("/v1/accounts/", "/v1/tokens/", "/api/v1/users/", "/iac/users/")):
        for place, value in list(places.items()):
            if value in OWN:
                places[place] = "0198c0de-0000-7000-8000-000000000000"
    if isinstance(case.body, dict):
        tame(case.path, case.body)


def tame(path, body):
    for field in {"/v1/pools/{name}": ("size", "spare")}.get(path, ("pool_size",)):
        number = whole(body.get(field))
        if MOST_MACHINES < number <= 10_000:
            body[field] = type(body[field])(number % MOST_MACHINES)
    if path == "/user" and whole(body.get("id")) <= len(OWN):
        body.pop("password", None)
    auth = body.get("auth")
    if isinstance(auth, dict) and 0 < whole(auth.get("userid")) <= len(OWN):
        # Whoever fails to log in as them keeps them out for a while.
        auth["userid"] = type(auth["userid"])(1_000)


def whole(value):
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if type(value) is int else 0


# Whoever could say there in the body who they are, and does not, is told so by 400.
BY_BODY = ("/user", "/checkout_vm", "/checkin_vm", "/maintenance", "/create_resource_pool", "/resizevmpool", "/truncate_tables", "/vmdetails/id/")


@schemathesis.hook
def filter_failure(context, failure, case, response):
    kind = type(failure).__name__
    if kind == "IgnoredAuth":
        # Whoever fails to log in too often waits, which keeps them out as well.
        return not ("got `429" in failure.message or ("got `400" in failure.message and case.path.startswith(BY_BODY)))
    # A reservation that was released is still told of, as `ended`.
    return not (kind == "UseAfterFree" and case.path.endswith("/reservations/{id}"))
