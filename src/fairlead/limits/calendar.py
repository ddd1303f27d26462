"""Windows of the calendar: the hour, day, week or month that holds a moment, in a time zone.

A window ends where the next begins, whatever the clocks do: a day with a
change to or from summer time has 23 or 25 hours, and the hour that happens
twice is two windows. Pure; moments are Unix microseconds.
"""

from __future__ import annotations

import datetime as dt
from typing import Final
from zoneinfo import ZoneInfo

from fairlead.limits.quota import Window

_US: Final = 1_000_000
_HOUR: Final = dt.timedelta(hours=1)


def window_at(kind: Window, timezone: str, now_us: int) -> tuple[int, int]:
    """The beginning and the end of the window that holds `now_us`; the end belongs to the next.

    Args:
        kind: its length.
        timezone: IANA name.
        now_us: any moment from 1970 to 9998.
    """
    zone = dt.UTC if timezone == "UTC" else ZoneInfo(timezone)
    now = dt.datetime.fromtimestamp(now_us // _US, zone)
    if kind is Window.HOUR:
        return _hour(now)
    today = now.date()
    if kind is Window.DAY:
        first, last = today, today + dt.timedelta(days=1)
    elif kind is Window.WEEK:
        first = today - dt.timedelta(days=today.weekday())
        last = first + dt.timedelta(days=7)
    else:
        first = today.replace(day=1)
        last = (first + dt.timedelta(days=31)).replace(day=1)
    return _midnight(first, zone), _midnight(last, zone)


def _hour(now: dt.datetime) -> tuple[int, int]:
    """The clock hour. Some zones are half an hour off, so it is cut on the local clock face.

    Clocks change by half an hour somewhere (Lord Howe): an hour so interrupted ends at the change,
    and what follows is another.
    """
    since = dt.timedelta(minutes=now.minute, seconds=now.second)
    moment = now.astimezone(dt.UTC)
    begin, end = moment - since, moment - since + _HOUR
    zone = now.tzinfo
    offset = now.utcoffset()
    if begin.astimezone(zone).utcoffset() != offset:
        begin = _change(begin, moment, zone)
    if (end - dt.timedelta(seconds=1)).astimezone(zone).utcoffset() != offset:
        end = _change(moment, end, zone)
    return _unix_us(begin), _unix_us(end)


def _change(low: dt.datetime, high: dt.datetime, zone: dt.tzinfo | None) -> dt.datetime:
    """The second at which the offset becomes that of `high`, which differs from that of `low`."""
    after = high.astimezone(zone).utcoffset()
    first, last = _unix_us(low) // _US, _unix_us(high) // _US
    while last - first > 1:
        middle = (first + last) // 2
        if dt.datetime.fromtimestamp(middle, zone).utcoffset() == after:
            last = middle
        else:
            first = middle
    return dt.datetime.fromtimestamp(last, dt.UTC)


def _midnight(day: dt.date, zone: dt.tzinfo) -> int:
    """The beginning of a day. Where clocks skip midnight, the first moment of the day there is."""
    begin = dt.datetime.combine(day, dt.time.min, zone)
    # A skipped time has an offset from before the change, and so lands behind it: on the same day.
    return _unix_us(begin)


def _unix_us(moment: dt.datetime) -> int:
    return round(moment.timestamp()) * _US
