"""`fairlead alerts`: what fires, whether receivers work, quiet for a while, and rules for other tools."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from fairlead.cli.admin_api import KEY, add_url_option, ask
from fairlead.cli.ledger import date, moment, printable, say, table, write_json
from fairlead.cli.settings import add_config_options, load
from fairlead.errors import ConfigError, FairleadError, UsageError

_ALERTS: Final = ("STATE", "SEVERITY", "RULE", "LABELS", "SINCE", "SILENCED", "EFFECT")
_DEAD: Final = ("GIVEN UP", "RECEIVER", "ATTEMPTS", "WHAT", "WHY")
_RULES: Final = ("RULE", "SEVERITY", "LABELS", "HOLDS", "EFFECT")
_RECEIVERS: Final = ("RECEIVER", "SENT", "STATUS", "WHY NOT")
_SILENCES: Final = ("ID", "ACTIVE", "UNTIL", "MATCHERS", "AUTHOR", "COMMENT")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command group."""
    group = subparsers.add_parser("alerts", help="show, test, silence and export alerts")
    commands = group.add_subparsers(dest="alerts_command", metavar="COMMAND", required=True)
    where = f"Asks a running gateway; the admin key is read from ${KEY}."

    listing = commands.add_parser(
        "list", help="show alerts that are pending, firing or just resolved", description=where
    )
    listing.add_argument("--state", choices=["pending", "firing", "resolved"], help="only in this state")
    listing.add_argument("--dead", action="store_true", help="show notifications that no receiver took")
    add_url_option(listing)
    listing.add_argument("--json", action="store_true", help="write JSON to stdout")
    listing.set_defaults(run=_list)

    test = commands.add_parser(
        "test",
        help="send a test through every receiver, and show what each rule says",
        description="Send a test notification through every receiver and say what came of it; then show "
        f"what each rule says of the present metrics. Fails when a receiver does not take it. {where}",
    )
    add_url_option(test)
    test.add_argument("--json", action="store_true", help="write JSON to stdout")
    test.set_defaults(run=_test)

    silence = commands.add_parser(
        "silence",
        help="be told nothing of some alerts for a while",
        description="Be told nothing of the alerts that all matchers fit. Without matchers, show the "
        f"silences there are. {where}",
    )
    silence.add_argument(
        "matchers", nargs="*", metavar="LABEL=VALUE", help="such as rule=outage; a * matches the rest"
    )
    silence.add_argument("--for", dest="duration", metavar="2h", help="how long (default: 1h)")
    silence.add_argument("--comment", help="why; needed")
    silence.add_argument("--author", help="who (default: this user)")
    silence.add_argument("--end", metavar="ID", help="end this silence now")
    add_url_option(silence)
    silence.add_argument("--json", action="store_true", help="write JSON to stdout")
    silence.set_defaults(run=_silence)

    export = commands.add_parser(
        "export",
        help="write the rules for Prometheus and dashboards for Grafana",
        description="Write the configured rules (the default ones without any) as Prometheus rules, and "
        "dashboards for Grafana. Needs no running gateway.",
    )
    export.add_argument("--prometheus", metavar="FILE", help="the rules file to write; - for stdout")
    export.add_argument("--grafana", metavar="DIR", help="the directory to write dashboards into")
    add_config_options(export)
    export.set_defaults(run=_export)


def _list(args: argparse.Namespace) -> int:
    path = "/admin/v1/alerts" + (f"?state={args.state}" if args.state else "")
    answer = ask(args.url, path)
    if args.json:
        write_json(answer)
        return 0
    if args.dead:
        sys.stdout.write(dead_table(answer["dead"]) if answer["dead"] else "")
        say(f"{len(answer['dead'])} notifications were given up, {answer['waiting']} are on their way")
        return 0
    if answer["data"]:
        sys.stdout.write(alerts_table(answer["data"]))
    else:
        say("no alerts")
    if answer["dead"]:
        say(f"{len(answer['dead'])} notifications were given up; `fairlead alerts list --dead` shows them")
    return 0


def _test(args: argparse.Namespace) -> int:
    # An empty object: the operation takes no body, and a POST needs one.
    answer = ask(args.url, "/admin/v1/alerts/test", {})
    if args.json:
        write_json(answer)
    else:
        if answer["receivers"]:
            sys.stdout.write(receivers_table(answer["receivers"]))
        else:
            say("no receivers are configured")
        if answer["rules"]:
            sys.stdout.write("\n" + rules_table(answer["rules"]))
        else:
            say("no rule has anything to look at yet")
    failed = [one["receiver"] for one in answer["receivers"] if not one["sent"]]
    if failed:
        raise FairleadError(f"not taken by {', '.join(failed)}")
    return 0


def _silence(args: argparse.Namespace) -> int:
    if args.end is not None:
        ask(args.url, f"/admin/v1/silences/{quote(args.end, safe='')}", method="DELETE")
        say(f"the silence {printable(args.end)} is over")
        return 0
    if not args.matchers:
        answer = ask(args.url, "/admin/v1/silences")
        if args.json:
            write_json(answer)
        elif answer["data"]:
            sys.stdout.write(silences_table(answer["data"]))
        else:
            say("no silences")
        return 0
    if not args.comment:
        raise UsageError("--comment: say why", hint="others will wonder why nothing is told")
    body = {
        "matchers": matchers(args.matchers),
        # `moment` reads times ago; here it is one ahead.
        "duration_s": -moment(args.duration or "1h", "--for", 0.0),
        "comment": args.comment,
        "author": args.author or getpass.getuser(),
    }
    made = ask(args.url, "/admin/v1/silences", body)
    if args.json:
        write_json(made)
    else:
        sys.stdout.write(made["id"] + "\n")
        say(f"silent until {date(made['until'])}")
    return 0


def matchers(words: list[str]) -> dict[str, str]:
    """`LABEL=VALUE` words as a mapping. Raises UsageError."""
    found: dict[str, str] = {}
    for word in words:
        label, equals, value = word.partition("=")
        if not equals or not label or not value:
            raise UsageError(f"expected LABEL=VALUE, got `{word}`", hint="such as rule=outage or model=gpt-*")
        found[label] = value
    return found


def _export(args: argparse.Namespace) -> int:
    # Only here: the others ask a gateway and need neither rules nor YAML.
    from fairlead.config.alert_options import Alerts
    from fairlead.telemetry.alerts.export import grafana, prometheus
    from fairlead.telemetry.alerts.rules import compiled

    if args.prometheus is None and args.grafana is None:
        raise UsageError(
            "nothing to write", hint="name a file with --prometheus or a directory with --grafana"
        )
    alerts = load(args).alerts or Alerts()
    rules = compiled(alerts)
    try:
        if args.prometheus is not None:
            text = prometheus.document(rules, alerts.false_pages_per_month)
            if args.prometheus == "-":
                sys.stdout.write(text)
            else:
                Path(args.prometheus).write_text(text, encoding="utf-8")
                say(f"wrote {printable(args.prometheus)}")
        if args.grafana is not None:
            directory = Path(args.grafana)
            directory.mkdir(parents=True, exist_ok=True)
            for name, dashboard in grafana.dashboards(rules).items():
                data = msgspec.json.format(msgspec.json.encode(dashboard), indent=2)
                (directory / name).write_bytes(data + b"\n")
                say(f"wrote {printable(str(directory / name))}")
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}: {error.filename}") from error
    return 0


def alerts_table(alerts: list[dict[str, Any]]) -> str:
    """Alerts, as the control API gives them, in columns."""
    return table(_ALERTS, [_alert(alert) for alert in alerts])


def _alert(alert: dict[str, Any]) -> tuple[str, ...]:
    return (
        alert["state"],
        alert["severity"],
        printable(alert["rule"]),
        labels(alert["labels"]),
        date(alert["since_at"]),
        alert["silenced_by"] or "-",
        printable(alert["effect"]),
    )


def dead_table(dead: list[dict[str, Any]]) -> str:
    """Notifications that nobody took, in columns."""
    rows = [
        (
            date(one["created_at"]),
            printable(one["receiver"]),
            str(one["attempts"]),
            printable(one["title"]),
            printable(one["error"]),
        )
        for one in dead
    ]
    return table(_DEAD, rows, numbers=("ATTEMPTS",))


def receivers_table(receivers: list[dict[str, Any]]) -> str:
    """How a test fared, in columns."""
    rows = [
        (
            printable(one["receiver"]),
            "yes" if one["sent"] else "no",
            str(one["status"] or "-"),
            printable(one["detail"]) or "-",
        )
        for one in receivers
    ]
    return table(_RECEIVERS, rows)


def rules_table(rules: list[dict[str, Any]]) -> str:
    """What rules say, in columns."""
    holds = {True: "yes", False: "no", None: "not known"}
    rows = [
        (
            printable(one["rule"]),
            one["severity"],
            labels(one["labels"]),
            holds[one["holds"]],
            printable(one["effect"]),
        )
        for one in rules
    ]
    return table(_RULES, rows)


def silences_table(silences: list[dict[str, Any]]) -> str:
    """Silences in columns."""
    rows = [
        (
            one["id"],
            "yes" if one["active"] else "no",
            date(one["until"]),
            labels(one["matchers"]),
            printable(one["author"]),
            printable(one["comment"]),
        )
        for one in silences
    ]
    return table(_SILENCES, rows)


def labels(pairs: dict[str, str]) -> str:
    """Labels as text; `-` without any."""
    return printable(",".join(f"{name}={value}" for name, value in sorted(pairs.items()))) or "-"
