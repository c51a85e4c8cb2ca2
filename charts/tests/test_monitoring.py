"""The dashboard and the alerts ask for metrics that exist, by labels that they have."""

from __future__ import annotations

import json
import re
from typing import Any

from currant_operator import metrics
from currant_operator.plan import manifests
from helm import CHART, CHECKOUT, Object, objects, one, render

METRIC = re.compile(r"currant_[a-z_]+")
DOCS = "https://currant.dev/docs"
GUIDE = (CHECKOUT / "docs" / "operate" / "observability.md").read_text()
REFERENCE = (CHECKOUT / "docs" / "reference" / "metrics.md").read_text()


def workers_metrics() -> set[str]:
    """The metrics of a worker's page, from docs/reference/metrics.md, which is made of a real page."""
    rows = re.findall(r"(?m)^\| `(currant_worker_\w+)` \| (\w+) \|", REFERENCE)
    return {name for family, kind in rows for name in series(family.removesuffix("_total"), kind)}


def series(family: str, kind: str) -> list[str]:
    """The names that queries use for a family."""
    return {
        "counter": [f"{family}_total"],
        "histogram": [f"{family}_{part}" for part in ("bucket", "sum", "count")],
    }.get(kind, [family])


def operators_metrics() -> set[str]:
    """The metrics of the operator's page; a histogram has three series."""
    return {name for family in metrics.REGISTRY.collect() for name in series(family.name, family.type)}


EXIST = workers_metrics() | operators_metrics()
# Panels show ready and due executions by queue, where each counts once, and the oldest by pool.
SHOWN_OTHERWISE = {"currant_pool_ready", "currant_pool_due", "currant_queue_oldest_ready_seconds"}


def dashboard() -> dict[str, Any]:
    """The dashboard of the rendered ConfigMap."""
    item = one(objects(render("monitoring-forced")), "ConfigMap", "currant-dashboard")
    assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
    found: dict[str, Any] = json.loads(item["data"]["currant.json"])
    return found


def alerts() -> list[Object]:
    """The chart's own alerts."""
    item = one(objects(render("monitoring-found")), "PrometheusRule", "currant-operator")
    found: list[Object] = item["spec"]["groups"][0]["rules"]
    return found


def test_the_dashboard_comes_as_it_is_in_its_file() -> None:
    assert dashboard() == json.loads((CHART / "files" / "dashboards" / "currant.json").read_text())


def asked_by_panels() -> set[str]:
    """The metrics that the dashboard's panels ask for."""
    return {
        name
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
        for name in METRIC.findall(target["expr"])
    }


def test_every_metric_of_the_dashboard_exists() -> None:
    asked = asked_by_panels()
    assert asked
    assert asked - EXIST == set()


def test_every_gauge_of_pools_queues_and_schedules_has_a_panel() -> None:
    prefixes = ("currant_pool_", "currant_queue_", "currant_schedule_")
    gauges = {name for name in operators_metrics() if name.startswith(prefixes)}
    assert "currant_pool_rolled_out" in gauges
    assert gauges - asked_by_panels() == SHOWN_OTHERWISE


def test_every_panel_has_its_own_place() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        position = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(position["x"], position["x"] + position["w"])
            for y in range(position["y"], position["y"] + position["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_every_metric_of_the_alerts_exists() -> None:
    asked = {name for alert in alerts() for name in METRIC.findall(alert["expr"])}
    assert asked
    assert asked - EXIST == set()


def test_every_alert_says_what_is_wrong_and_what_to_look_at() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert alert["annotations"]["summary"]
        assert "kubectl" in alert["annotations"]["description"], alert["alert"]


def heading(title: str) -> str:
    """The anchor of a heading, as renderers of Markdown make it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def exists(url: str) -> bool:
    """Whether a link to a page of docs/, and to a heading of it, leads somewhere."""
    path, _, anchor = url.removeprefix(f"{DOCS}/").partition("#")
    page = CHECKOUT / "docs" / path
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text()) if page.is_file() else []
    return page.is_file() and (not anchor or anchor in map(heading, headings))


def test_every_alert_has_a_page_that_says_what_to_do() -> None:
    for alert in alerts():
        url = alert["annotations"]["runbook_url"]
        assert url.startswith(f"{DOCS}/operate/alerts.md#"), alert["alert"]
        assert exists(url), url
    assert not exists(f"{DOCS}/operate/alerts.md#nothing-of-the-kind")
    described = re.findall(r"(?m)^## (\w+)$", (CHECKOUT / "docs" / "operate" / "alerts.md").read_text())
    assert sorted(described) == sorted(alert["alert"] for alert in alerts())


def test_the_table_of_alerts_has_every_alert() -> None:
    listed = re.findall(r"(?m)^\| `(Currant\w+)` \|", GUIDE)
    assert sorted(listed) == sorted(alert["alert"] for alert in alerts())


def test_the_pages_may_be_anywhere() -> None:
    found = objects(render("monitoring-forced", "--set", "monitoring.docsUrl=https://wiki.example/currant/"))
    rules = one(found, "PrometheusRule", "currant-operator")["spec"]["groups"][0]["rules"]
    assert rules[0]["annotations"]["runbook_url"] == "https://wiki.example/currant/operate/alerts.md#currantnobodyleads"


def test_the_dashboard_is_found_by_its_uid_and_links_to_pages_that_exist() -> None:
    assert dashboard()["uid"] == "currant"
    links = [link["url"] for link in dashboard()["links"]]
    assert links
    assert [url for url in links if not exists(url)] == []


def test_what_pools_share_is_counted_once_by_the_dashboard() -> None:
    sums = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    assert [expr for expr in sums if re.match(r"sum\(currant_pool_(ready|due|running)\b", expr)] == []


def test_the_lateness_that_raises_an_alert_is_a_value() -> None:
    found = objects(render("monitoring-forced", "--set", "monitoring.prometheusRule.oldestReadySeconds=900"))
    rules = one(found, "PrometheusRule", "currant-operator")["spec"]["groups"][0]["rules"]
    assert {"currant_pool_oldest_ready_seconds > 900"} <= {rule["expr"] for rule in rules}
    assert rules[-1]["alert"] == "MineToo"


def test_the_pod_monitor_finds_the_workers_of_the_namespaces_that_the_operator_serves() -> None:
    everywhere = one(objects(render("monitoring-forced")), "PodMonitor", "currant-workers")["spec"]
    assert everywhere["namespaceSelector"] == {"any": True}
    forced = ("--set", "monitoring.podMonitor.enabled=true")
    watched = one(objects(render("watch-namespace", *forced)), "PodMonitor", "currant-workers")["spec"]
    assert watched["namespaceSelector"] == {"matchNames": ["shop"]}
    # The labels and the port that operator/currant_operator/plan/manifests.py gives the pods.
    assert everywhere["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "currant-worker",
        "app.kubernetes.io/managed-by": "currant",
    }
    (endpoint,) = everywhere["podMetricsEndpoints"]
    assert "port" not in endpoint, "a template may name the port as it likes"
    assert endpoint["relabelings"][0] == {
        "sourceLabels": ["__meta_kubernetes_pod_container_name", "__meta_kubernetes_pod_container_port_number"],
        "regex": f"{manifests.CONTAINER};{manifests.PORT}",
        "action": "keep",
    }
