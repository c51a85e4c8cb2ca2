"""Before an uninstall that deletes the definitions: delete every Workflow and WorkerPool, and wait until they are gone.

A pool is deleted in the foreground: it is there until its pods have drained and ended. The operator still runs, and
removes the rules of the Workflows from their databases. Runs in the operator's image, for as long as
`helm uninstall --timeout` lets it.
"""

import http.client
import json
import os
import ssl
import time

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def call(method, path, body=None):
    """One call of the API server, as this pod's account; gives the answer."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    context = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    connection = http.client.HTTPSConnection(host, port, timeout=30, context=context)
    try:
        with open(f"{ACCOUNT}/token") as token:
            headers = {"Authorization": f"Bearer {token.read()}", "Content-Type": "application/json"}
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        answer = connection.getresponse()
        said = json.loads(answer.read())
    finally:
        connection.close()
    if answer.status == 404:
        return {"items": []}
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {said.get('message', answer.reason)}")
    return said


def delete_all(plural):
    """Delete every object of a kind, and wait until none is left."""
    shown = None
    while True:
        items = [item["metadata"] for item in call("GET", f"/apis/currant.dev/v1alpha1/{plural}")["items"]]
        names = sorted(f"{item['namespace']}/{item['name']}" for item in items)
        if names != shown:
            print(f"{plural}: " + (f"waiting for {', '.join(names)}" if names else "none left"), flush=True)
            shown = names
        if not items:
            return
        for item in items:
            if "deletionTimestamp" not in item:
                path = f"/apis/currant.dev/v1alpha1/namespaces/{item['namespace']}/{plural}/{item['name']}"
                call("DELETE", path, {"propagationPolicy": "Foreground"})
        time.sleep(1)


def main():
    """Delete the Workflows first, because the operator finds their database by their pool."""
    delete_all("workflows")
    delete_all("workerpools")


if __name__ == "__main__":
    main()
