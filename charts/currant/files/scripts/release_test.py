"""`helm test`: the API has the resources, the operator is ready and one of its pods leads, the database answers.

Runs in the operator's image. Prints a line for each check; the exit code is 1 when one fails until its time is over.
"""

import http.client
import json
import os
import ssl
import sys
import time
from datetime import UTC, datetime

PATIENCE_SECONDS = 60
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
RESOURCES = {
    "workerpools",
    "workerpools/status",
    "workerpools/scale",
    "workflows",
    "workflows/status",
}


def get(connection, path, token=None):
    """The body of a page that answers with 200."""
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"GET {path} answers {answer.status}: {body.decode(errors='replace').strip()}")
    return body


def api(path):
    """An object of the API server, as this pod's account sees it."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    context = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    with open(f"{ACCOUNT}/token") as token:
        return json.loads(get(http.client.HTTPSConnection(host, port, timeout=10, context=context), path, token.read()))


def has_resources():
    """Both kinds are served, with their subresources."""
    served = {resource["name"] for resource in api("/apis/currant.dev/v1alpha1")["resources"]}
    missing = RESOURCES - served
    if missing:
        raise RuntimeError(f"the API server does not serve {', '.join(sorted(missing))} of currant.dev/v1alpha1")
    return "the API server serves WorkerPool and Workflow of currant.dev/v1alpha1"


def operator_is_ready():
    """Its readiness page answers."""
    get(http.client.HTTPConnection(os.environ["OPERATOR_ADDRESS"], timeout=10), "/readyz")
    return "the operator is ready"


def one_leads():
    """The Lease is held, and renewed."""
    spec = api(os.environ["LEASE_PATH"])["spec"]
    age = (datetime.now(UTC) - datetime.fromisoformat(spec["renewTime"])).total_seconds()
    if not spec.get("holderIdentity") or age > 2 * spec["leaseDurationSeconds"]:
        raise RuntimeError(f"nobody leads: the Lease was renewed {age:.0f} s ago by {spec.get('holderIdentity')!r}")
    return f"{spec['holderIdentity']} leads"


def database_answers():
    """The database of the release's Secret answers. It has no schema before the first WorkerPool: no failure."""
    from currant.rust_bridge import RustBridge

    version = RustBridge(os.environ["DATABASE_URL"]).schema_version()
    if version == 0:
        return "the database answers; the operator makes its schema when the first WorkerPool refers to it"
    return f"the database answers and has schema version {version}"


def holds(check):
    """Ask until it holds; print what it says."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            print(f"ok: {check()}", flush=True)
            return True
        except Exception as error:
            if time.monotonic() > limit:
                print(f"FAILED: {check.__name__}: {error}", flush=True)
                return False
        time.sleep(1)


def main():
    """Run the checks that this release has; give the exit code."""
    checks = [has_resources, operator_is_ready, one_leads]
    if os.environ.get("DATABASE_URL"):
        checks.append(database_answers)
    passed = [holds(check) for check in checks]  # every check runs, also after one that fails
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
