#!/usr/bin/env python3
"""Draws a dashboard with the data of a Prometheus, as SVG: the panels where Grafana would put them.

    draw.py socktrace-overview.json http://localhost:9090 > overview.svg

It is no Grafana: of each panel it shows title and data, of lines at most eight. Everything is chosen ($job,
$instance and $owner are `.+`), and the time is the last fifteen minutes, or as many as a third argument says.
"""

import html
import json
import sys
import time
import urllib.parse
import urllib.request

WIDTH, COLUMN, ROW = 1200, 50, 30
COLOURS = ["#3274d9", "#e0752d", "#56a64b", "#a352cc", "#e02f44", "#f2cc0c", "#37872d", "#8f3bb8"]
RATE_INTERVAL = "1m"


def shown(value, unit):
    """A number as a person reads it."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if not value:
        return "0"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        for bound, scale, word in ((1e-3, 1e6, "µs"), (1, 1e3, "ms"), (120, 1, "s"), (7200, 1 / 60, "min")):
            if value < bound:
                return f"{value * scale:.3g} {word}"
        return f"{value / 3600:.3g} h"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    number = f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
    return number + ("/s" if unit == "cps" else "")


class Prometheus:
    def __init__(self, address, minutes):
        self.address = address
        self.end = time.time()
        self.start = self.end - minutes * 60

    def ask(self, what, **parameters):
        address = f"{self.address}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address) as answer:
            return json.load(answer)["data"]["result"]

    def now(self, expression):
        return [(it["metric"], float(it["value"][1])) for it in self.ask("query", query=expression, time=self.end)]

    def lately(self, expression):
        step = (self.end - self.start) / 180
        found = self.ask("query_range", query=expression, start=self.start, end=self.end, step=step)
        return [(it["metric"], [(float(at), float(value)) for at, value in it["values"]]) for it in found]


def filled_in(expression):
    expression = expression.replace("$__rate_interval", RATE_INTERVAL)
    for name in ("job", "instance", "owner"):
        expression = expression.replace("$" + name, ".+")
    return expression


def legend(pattern, labels):
    for name, value in labels.items():
        pattern = pattern.replace("{{" + name + "}}", value)
    return pattern


def text(x, y, words, size=12, colour="#222", anchor="start"):
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">{html.escape(words)}</text>'


def colour_of(panel, value):
    """That of the highest step that is reached."""
    found = "green"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            found = step["color"]
    return {"green": "#37872d", "yellow": "#b08800", "red": "#c4162a"}[found]


def stat(panel, prometheus, x, y, wide, tall):
    found = prometheus.now(filled_in(panel["targets"][0]["expr"]))
    defaults = panel["fieldConfig"]["defaults"]
    if not found:
        yield text(x + wide / 2, y + tall - 34, defaults.get("noValue", "no data"), 18, "#666", "middle")
        return
    value = found[0][1]
    yield text(x + wide / 2, y + tall - 30, shown(value, defaults["unit"]), 28, colour_of(panel, value), "middle")


def table(panel, prometheus, x, y, wide, tall):
    order = panel["transformations"][0]["options"]["indexByName"]
    columns = sorted(order, key=order.get)
    rows = [{**labels, "Value": shown(value, "short")} for labels, value in prometheus.now(filled_in(panel["targets"][0]["expr"]))]
    for number, row in enumerate([dict(zip(columns, columns))] + rows[: (tall - 45) // 20]):
        for place, column in enumerate(columns):
            words = "count" if not number and column == "Value" else row.get(column, "")
            yield text(x + 12 + place * (wide - 24) / len(columns), y + 46 + number * 20, words, 12, "#222" if number else "#777")


def bars(panel, prometheus, x, y, wide, tall):
    target = panel["targets"][0]
    found = sorted(prometheus.now(filled_in(target["expr"])), key=lambda it: -it[1])[:8]
    most = max([value for _, value in found] + [1e-9])
    for number, (labels, value) in enumerate(found):
        at = y + 40 + number * 24
        yield text(x + 12, at + 14, legend(target["legendFormat"], labels)[:20])
        yield f'<rect x="{x + 150}" y="{at}" width="{max(1, (wide - 240) * value / most):.0f}" height="18" fill="{COLOURS[0]}"/>'
        yield text(x + 158 + (wide - 240) * value / most, at + 14, shown(value, panel["fieldConfig"]["defaults"]["unit"]))


def lines(panel, prometheus, x, y, wide, tall):
    defaults = panel["fieldConfig"]["defaults"]
    found = []
    for target in panel["targets"]:
        found += [(legend(target["legendFormat"], labels), points) for labels, points in prometheus.lately(filled_in(target["expr"]))]
    found = [(name, [(at, value) for at, value in points if abs(value) != float("inf") and value == value]) for name, points in found]
    found = sorted((it for it in found if it[1]), key=lambda it: -it[1][-1][1])
    if not found:
        yield text(x + wide / 2, y + tall / 2, defaults.get("noValue", "no data"), 14, "#666", "middle")
        return
    left, top, right, bottom = x + 62, y + 36, x + wide - 200, y + tall - 18
    most = max(value for _, points in found for _, value in points) or 1
    for part in (0, 0.5, 1):
        at = bottom - (bottom - top) * part
        yield f'<line x1="{left}" y1="{at:.0f}" x2="{right}" y2="{at:.0f}" stroke="#ddd"/>'
        yield text(left - 4, at + 4, shown(most * part, defaults["unit"]), 10, "#666", "end")
    span = prometheus.end - prometheus.start
    for number, (name, points) in enumerate(found[:8]):
        colour = COLOURS[number]
        places = " ".join(
            f"{left + (right - left) * (at - prometheus.start) / span:.1f},{bottom - (bottom - top) * value / most:.1f}" for at, value in points
        )
        yield f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        yield text(right + 8, top + 10 + number * 22, name[:30], 11, colour)
        yield text(right + 8, top + 21 + number * 22, shown(points[-1][1], defaults["unit"]), 10, "#666")
    if len(found) > 8:
        yield text(right + 8, bottom + 12, f"and {len(found) - 8} more", 10, "#666")


KINDS = {"stat": stat, "table": table, "bargauge": bars, "timeseries": lines}


def main():
    board = json.load(open(sys.argv[1], encoding="utf-8"))
    minutes = float(sys.argv[3]) if len(sys.argv) > 3 else 15
    prometheus = Prometheus(sys.argv[2], minutes)
    below = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    height = below * ROW + 40
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">')
    print(f'<rect width="{WIDTH}" height="{height}" fill="#f4f5f5"/>')
    print(text(8, 26, f"{board['title']}, the last {minutes:.0f} minutes", 18))
    for panel in board["panels"]:
        place = panel["gridPos"]
        x, y, wide, tall = place["x"] * COLUMN + 3, place["y"] * ROW + 43, place["w"] * COLUMN - 6, place["h"] * ROW - 6
        print(f'<rect x="{x}" y="{y}" width="{wide}" height="{tall}" fill="#fff" stroke="#ddd"/>')
        print(text(x + 8, y + 20, panel["title"], 13))
        for part in KINDS[panel["type"]](panel, prometheus, x, y, wide, tall):
            print(part)
    print("</svg>")


main()
