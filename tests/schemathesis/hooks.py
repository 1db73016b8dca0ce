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
    if case.path == "/v1/pools/{name}" and isinstance(case.body, dict):
        for field in ("size", "spare"):
            value = case.body.get(field)
            if isinstance(value, int) and MOST_MACHINES < value <= 10_000:
                case.body[field] = value % MOST_MACHINES


@schemathesis.hook
def filter_failure(context, failure, case, response):
    # Whoever fails to log in too often waits, which keeps them out as well.
    return not (type(failure).__name__ == "IgnoredAuth" and "got `429" in failure.message)
