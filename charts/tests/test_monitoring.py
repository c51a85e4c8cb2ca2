"""The dashboard and the alerts ask for metrics that exist, by labels that they have."""

from __future__ import annotations

import json
import re
from typing import Any

from currant_operator import metrics
from currant_operator.plan import manifests
from helm import CHART, CHECKOUT, Object, objects, one, render

METRIC = re.compile(r"currant_[a-z_]+")
DOCS = "https://wiki.example/currant/docs"  # `monitoring.docsUrl` of the mode monitoring-forced
GUIDE = (CHECKOUT / "docs" / "operate" / "observability.md").read_text()
REFERENCE = (CHECKOUT / "docs" / "reference" / "metrics.md").read_text()
SITE = re.findall(r"(?m)^\d+\. \[[^]]+\]\(([\w/-]+)\.md\)", (CHECKOUT / "docs" / "README.md").read_text())


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


def dashboard(mode: str = "monitoring-forced") -> dict[str, Any]:
    """The dashboard of the rendered ConfigMap."""
    item = one(objects(render(mode)), "ConfigMap", "currant-dashboard")
    assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
    found: dict[str, Any] = json.loads(item["data"]["currant.json"])
    return found


def alerts(mode: str = "monitoring-found") -> list[Object]:
    """The chart's own alerts."""
    item = one(objects(render(mode)), "PrometheusRule", "currant-operator")
    found: list[Object] = item["spec"]["groups"][0]["rules"]
    return [rule for rule in found if rule["alert"].startswith("Currant")]


def test_the_dashboard_comes_as_it_is_in_its_file() -> None:
    in_its_file = json.loads((CHART / "files" / "dashboards" / "currant.json").read_text())
    assert dashboard("monitoring-found") == in_its_file
    assert {**dashboard(), "links": []} == in_its_file


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
    """Whether a link leads to a page of the site, which has those that docs/README.md lists, and to a heading of it."""
    link, _, anchor = url.partition("#")
    name = link.removeprefix(f"{DOCS}/").removesuffix(".html")
    page = CHECKOUT / "docs" / f"{name}.md"
    if link != f"{DOCS}/{name}.html" or name not in SITE:
        return False
    return not anchor or anchor in map(heading, re.findall(r"(?m)^#+ (.+)$", page.read_text()))


def test_every_alert_has_a_page_that_says_what_to_do() -> None:
    for alert in alerts("monitoring-forced"):
        url = alert["annotations"]["runbook_url"]
        assert url.startswith(f"{DOCS}/operate/alerts.html#"), alert["alert"]
        assert exists(url), url
    for dead in ("operate/alerts.html#nothing-of-the-kind", "operate/alerts.md", "operate/nothing.html"):
        assert not exists(f"{DOCS}/{dead}")
    described = re.findall(r"(?m)^## (\w+)$", (CHECKOUT / "docs" / "operate" / "alerts.md").read_text())
    assert sorted(described) == sorted(alert["alert"] for alert in alerts())


def test_the_table_of_alerts_has_every_alert() -> None:
    listed = re.findall(r"(?m)^\| `(Currant\w+)` \|", GUIDE)
    assert sorted(listed) == sorted(alert["alert"] for alert in alerts())


def test_the_dashboard_is_found_by_its_uid_and_links_to_pages_that_exist() -> None:
    assert dashboard()["uid"] == "currant"
    links = [link["url"] for link in dashboard()["links"]]
    assert len(links) == 3
    assert [url for url in links if not exists(url)] == []


def test_without_an_address_of_the_pages_nothing_links_to_them() -> None:
    assert [alert for alert in alerts() if "runbook_url" in alert["annotations"]] == []
    assert dashboard("monitoring-found")["links"] == []


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
