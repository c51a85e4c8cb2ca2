"""Before an uninstall that deletes the definitions: delete every Workflow and WorkerPool, and wait until they are gone.

The operator is still there to drain the pools; without it they would wait for their finalizers for ever. Runs in the
operator's image, for as long as `helm uninstall --timeout` lets it.
"""

import http.client
import json
import os
import ssl
import time

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def call(method, path):
    """One call of the API server, as this pod's account; gives the answer."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    context = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    connection = http.client.HTTPSConnection(host, port, timeout=30, context=context)
    try:
        with open(f"{ACCOUNT}/token") as token:
            connection.request(method, path, headers={"Authorization": f"Bearer {token.read()}"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
    finally:
        connection.close()
    if answer.status == 404:
        return {"items": []}
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {body.get('message', answer.reason)}")
    return body


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
                call("DELETE", f"/apis/currant.dev/v1alpha1/namespaces/{item['namespace']}/{plural}/{item['name']}")
        time.sleep(1)


def main():
    """Workflows first: the operator finds their database by their pool."""
    delete_all("workflows")
    delete_all("workerpools")


if __name__ == "__main__":
    main()
