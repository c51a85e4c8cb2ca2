"""The schema of a pool's template is that of the API server's own pods, and small enough for every way to install it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from conftest import CHECKOUT
from e2e.clusters import Kubectl
from samples import pool

ANNOTATIONS = (
    256 * 1024
)  # bytes that the annotations of an object may have, and `kubectl apply` keeps the object in one

# Much of what templates have, in one.
EVERYTHING = """
metadata: {labels: {team: shop}, annotations: {sidecar.example/inject: "false"}}
spec:
  nodeSelector: {disk: ssd}
  tolerations: [{key: spot, operator: Exists, effect: NoSchedule, tolerationSeconds: 30}]
  affinity:
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - {weight: 1, podAffinityTerm: {topologyKey: zone, labelSelector: {matchLabels: {a: b}}}}
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
  priorityClassName: low
  runtimeClassName: gvisor
  imagePullSecrets: [{name: registry}]
  dnsConfig: {options: [{name: ndots, value: "2"}]}
  securityContext: {runAsUser: 7, fsGroup: 7, supplementalGroups: [8], seccompProfile: {type: RuntimeDefault}}
  initContainers:
    - {name: proxy, image: "proxy:1", restartPolicy: Always, ports: [{containerPort: 15001}, {containerPort: 15001, protocol: UDP}]}
  containers:
    - name: worker
      command: [tini, --, currant]
      env:
        - {name: BANK_URL, value: "https://bank.example"}
        - {name: TOKEN, valueFrom: {secretKeyRef: {name: bank, key: token, optional: true}}}
      envFrom: [{configMapRef: {name: settings}}]
      resources: {requests: {cpu: 0.5, memory: 1.5Gi, ephemeral-storage: 1e9}, limits: {cpu: 1, memory: 2Gi, nvidia.com/gpu: "1"}}
      livenessProbe: {periodSeconds: 30, httpGet: {path: /alive}}
      lifecycle: {preStop: {sleep: {seconds: 1}}}
      securityContext: {capabilities: {drop: [ALL]}, readOnlyRootFilesystem: false}
      volumeMounts: [{name: code, mountPath: /code, readOnly: true}]
  volumes:
    - {name: code, configMap: {name: code, defaultMode: 0444, items: [{key: a, path: b}]}}
    - {name: big, emptyDir: {sizeLimit: 10Gi, medium: Memory}}
    - {name: token, projected: {sources: [{serviceAccountToken: {audience: x, path: token}}]}}
    - {name: disk, ephemeral: {volumeClaimTemplate: {metadata: {labels: {a: b}}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}
"""


def test_a_template_of_all_kinds_of_fields_is_kept_as_it_was_written(kubectl: Kubectl) -> None:
    template: dict[str, Any] = yaml.safe_load(EVERYTHING)
    body = json.dumps(pool(spec__template=template))
    kept = json.loads(kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=body))["spec"]["template"]
    # The fields that identify the items of a list are filled in.
    template["spec"]["initContainers"][0]["ports"][0]["protocol"] = "TCP"
    assert kept == template


@pytest.mark.parametrize("path", sorted((CHECKOUT / "crds").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_definitions_fit_into_the_annotation_of_a_client_side_apply(path: Any, kubectl: Kubectl) -> None:
    assert len(json.dumps(yaml.safe_load(path.read_text()))) < ANNOTATIONS / 2
    kubectl("apply", "--dry-run=server", "-f", str(path))
