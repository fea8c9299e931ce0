"""What the dashboards are made of: Grafana's classic model, schema version 41.

Each part is a panel without a place; `dashboard` gives places and numbers. Statistics stand four rows high and six
in a line, the rest eight high and two in a line, and tables take the whole width.
"""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


RUNBOOK = {"targetBlank": True, "title": "Runbook", "url": "http://${__data.fields.instance}/runbook#${__data.fields.kind}"}


def target(number, expression, legend, instant=False):
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expression,
        "format": "table" if instant and legend is None else "time_series",
        "instant": instant,
        "legendFormat": legend or "__auto",
        "range": not instant,
        "refId": "ABCDEF"[number],
    }


def steps(yellow=None, red=None, below=None):
    """Green, then what is reached from below; or `below` gives colours by their upper bounds."""
    if below:
        colours = [color for _, color in sorted(below.items())] + ["green"]
        bounds = [None, *sorted(below)]
        return [{"color": color, "value": value} for color, value in zip(colours, bounds)]
    found = [{"color": "green", "value": None}]
    found += [{"color": color, "value": value} for color, value in (("yellow", yellow), ("red", red)) if value is not None]
    return found


def panel(kind, title, description, unit, targets, options, custom=None, colour="palette-classic", thresholds=None, least=None, most=None, none=None):
    defaults = {
        "color": {"mode": colour},
        "custom": custom or {},
        "mappings": [],
        "thresholds": {"mode": "absolute", "steps": thresholds or steps()},
        "unit": unit,
    }
    for key, value in (("min", least), ("max", most), ("noValue", none)):
        if value is not None:
            defaults[key] = value
    return {
        "datasource": DATASOURCE,
        "description": description,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": targets,
        "title": title,
        "type": kind,
    }


def stat(title, description, unit, expression, yellow=None, red=None, below=None, none=None):
    """One number, now."""
    options = {
        "colorMode": "value" if yellow is None and red is None and not below else "background",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value",
    }
    targets = [target(0, expression, title)]
    return panel("stat", title, description, unit, targets, options, colour="thresholds", thresholds=steps(yellow, red, below), none=none)


def lines(title, description, unit, *queries, stacked=False, most=None, none=None):
    """Queries with their legends, over time."""
    custom = {
        "drawStyle": "line",
        "fillOpacity": 30 if stacked else 0,
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
    }
    options = {
        "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "right", "showLegend": True, "sortBy": "Last *", "sortDesc": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    targets = [target(number, *query) for number, query in enumerate(queries)]
    return panel("timeseries", title, description, unit, targets, options, custom, least=0, most=most, none=none)


def last(title, description, unit, expression, legend):
    """Bars, now."""
    options = {
        "displayMode": "basic",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
        "maxVizHeight": 24,
        "minVizHeight": 12,
        "minVizWidth": 8,
        "namePlacement": "left",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": True,
        "sizing": "auto",
        "valueMode": "color",
    }
    return panel("bargauge", title, description, unit, [target(0, expression, legend, instant=True)], options, least=0)


def table(title, description, expression, columns):
    """What there is now, with these labels and how often."""
    shown = panel("table", title, description, "short", [target(0, expression, None, instant=True)], {"cellHeight": "sm", "showHeader": True})
    order = {name: place for place, name in enumerate([*columns, "Value"])}
    shown["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": {"Value": "count"}}}]
    shown["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": "kind"}, "properties": [{"id": "links", "value": [RUNBOOK]}]}
    ]
    return shown


def quantiles(title, description, metric):
    """Half and 99 of 100 of a histogram, by instance."""
    buckets = f'sum by (instance, le) (rate({metric}_bucket{{job=~"$job", instance=~"$instance"}}[$__rate_interval]))'
    queries = [(f"histogram_quantile({part}, {buckets})", "{{instance}} " + name) for part, name in ((0.99, "p99"), (0.5, "p50"))]
    return lines(title, description, "s", *queries)


def part_of(part, whole):
    """A ratio; nothing of nothing is no number, so there is none."""
    return f"({part}) / ({whole} > 0)"


def variable(name, label, query):
    return {
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "datasource": DATASOURCE,
        "hide": 0,
        "includeAll": True,
        "label": label,
        "multi": True,
        "name": name,
        "options": [],
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "type": "query",
    }


def variables(owner):
    datasource = {
        "current": {"selected": False, "text": "default", "value": "default"},
        "hide": 0,
        "includeAll": False,
        "label": "Data Source",
        "multi": False,
        "name": "datasource",
        "options": [],
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "type": "datasource",
    }
    found = [
        datasource,
        variable("job", "Job", "label_values(socktrace_build_info, job)"),
        variable("instance", "Instance", 'label_values(socktrace_build_info{job=~"$job"}, instance)'),
    ]
    if owner:
        found.append(variable("owner", "Owner", 'label_values(socktrace_sockets{job=~"$job", instance=~"$instance"}, owner)'))
    return found


def placed(panels):
    x, y, high = 0, 0, 0
    for number, it in enumerate(panels, 1):
        wide, tall = {"stat": (4, 4), "table": (24, 8)}.get(it["type"], (12, 8))
        if x + wide > 24 or (high and tall != high):
            x, y = 0, y + high
        it["id"], it["gridPos"] = number, {"h": tall, "w": wide, "x": x, "y": y}
        x, high = x + wide, tall
    return panels


def dashboard(uid, title, description, panels, owner=False):
    links = {"asDropdown": False, "icon": "external link", "includeVars": True, "keepTime": True, "tags": ["socktrace"],
             "targetBlank": False, "title": "socktrace", "tooltip": "", "type": "dashboards", "url": ""}
    return {
        "annotations": {"list": []},
        "description": description,
        "editable": False,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "id": None,
        "links": [links],
        "panels": placed(panels),
        "refresh": "30s",
        "schemaVersion": 41,
        "tags": ["socktrace"],
        "templating": {"list": variables(owner)},
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "title": title,
        "uid": uid,
        "version": 1,
        "weekStart": "",
    }
