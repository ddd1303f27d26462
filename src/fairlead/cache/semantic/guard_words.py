# ruff: noqa: E501 - a table: one row a line reads best
"""The words that guards know, by language where there is no other way.

Lists are short on purpose: a word that is missing here costs nothing in
safety, because the model trusts no difference that it has not seen verified.
What stands here is only known sooner.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

NEGATORS: Final = """
not no never none nobody nothing nowhere neither nor cannot without except unless hardly lacks lacking
don't doesn't didn't isn't aren't wasn't weren't won't wouldn't can't couldn't shouldn't mustn't haven't hasn't
hadn't needn't dont doesnt didnt isnt arent wasnt wont wouldnt cant couldnt shouldnt
nicht kein keine keinen keinem keiner keines nie niemals nichts niemand ohne weder außer
pas jamais sans aucun aucune rien personne ni sauf
nunca sin ningún ninguna ninguno nada nadie tampoco jamás excepto
não nem sem nenhum nenhuma ninguém
non mai senza nessun nessuno nessuna niente né
niet geen nooit zonder niemand niets
nie bez nigdy żaden żadna
не нет ни без никогда нельзя ничего никто
değil yok asla hiç
inte ingen inga aldrig utan ikke aldri uten ingen
لا ليس ليست لم لن غير بدون
नहीं न मत बिना
不 没 沒 无 無 未 非 别 別 勿 莫 ない ません
안 못 않 없
"""

FAMILIES: Final = """
enable enabled enabling activate activated activating / disable disabled disabling deactivate deactivated
on / off
open opening opened / close closing closed shut terminate
start starting begin launch resume / stop stopping end halt quit shut kill pause
install installing / uninstall remove
add insert append create include attach / remove delete drop exclude detach subtract
allow permit accept approve grant / deny forbid reject block refuse revoke prohibit ban
increase increasing raise grow gain / decrease decreasing reduce lower shrink lose
ascending increasing / descending decreasing
buy purchase buying / sell selling
deposit / withdraw
send sending / receive receiving
push upload export publish write encode serialize compress zip / pull download import read decode parse decompress unzip
lock / unlock
encrypt / decrypt
connect / disconnect
mute / unmute
join enter login / leave exit logout
win / lose
pass passed succeed success / fail failed failure
true / false
yes / no
good better best / bad worse worst
safe / dangerous unsafe harmful
legal / illegal
possible / impossible
more greater higher larger bigger most maximum max maximal upper above over / less fewer lower smaller least minimum min minimal under below
before prior earlier earliest / after later latest
first / last
old older oldest / new newer newest
early / late
fast faster / slow slower
hot heat warm / cold cool
long longer / short shorter
cheap cheaper cheapest / expensive
strong / weak
light lighter / heavy heavier dark
left / right
north / south / east / west
up / down
in into inside / out outside
inbound incoming input / outbound outgoing output
internal / external
public / private
forward / backward backwards reverse
horizontal / vertical
row rows / column columns
positive / negative
profit / loss
asset / liability
credit / debit
import imports / export exports
buyer / seller
employer / employee
cause causes / effect effects prevent prevents
pros advantages benefits / cons disadvantages drawbacks risks
front / back
full / empty
male man men boy father husband he his him / female woman women girl mother wife she her hers
married / divorced single
born / died buried
birth / death
arrive arrival / depart departure
uppercase / lowercase
melting / boiling / freezing
single / double / triple
breakfast / lunch / dinner
who / when / where / why
spring / summer / autumn fall / winter
red / green / blue / yellow / black / white / orange / purple / pink / brown
python / java / javascript / typescript / rust / go golang / ruby / php / perl / kotlin / swift / scala / haskell / c / c++ / c# / r / sql / bash
windows / linux / macos mac / android / ios
mysql / postgres postgresql / sqlite / mongodb / oracle
get / post / put / patch
int integer / float double / string str / bool boolean
english / german / french / spanish / italian / portuguese / chinese / japanese / russian / arabic / korean / dutch
einschalten aktivieren an / ausschalten deaktivieren aus
öffnen / schließen
kaufen / verkaufen
mehr / weniger
größer / kleiner
vor / nach
erste ersten / letzte letzten
activer allumer / désactiver éteindre
ouvrir / fermer
acheter / vendre
plus / moins
avant / après
premier première / dernier dernière
activar encender / desactivar apagar
abrir / cerrar fechar
comprar / vender
más mais / menos
antes / después depois
primero primera / último última
attivare accendere / disattivare spegnere
aprire / chiudere
включить / выключить отключить
открыть / закрыть
купить / продать
больше / меньше
开 / 关
買 买 / 賣 卖
大 / 小
多 / 少
上 / 下
前 / 后 後
启 / 禁
"""
"""A line is a family, `/` parts alternatives: two texts must not differ by standing for two of them."""

QUANTIFIERS: Final = """
only / all every each entire / any some / both / always / often usually / sometimes rarely seldom / exactly
nur / alle jeder jede jedes / immer / seulement / tous toutes chaque / toujours / solo / todos todas cada / siempre
"""
"""Alternatives that must be on both sides or on none."""

COMPARATIVES: Final = """
more greater higher larger bigger above over exceeds / less fewer smaller below under / most maximum / least
minimum / before until till by / after since / between / than / < / > / <= ≤ / >= ≥ / == / != ≠ <> / equal equals
"""

UNITS: Final = """
mm millimetre millimetres millimeter millimeters / cm centimetre centimetres centimeter centimeters
/ metre metres meter meters / km kilometre kilometres kilometer kilometers / inch inches / foot feet ft / yard yards yd
/ mile miles mi / mg milligram milligrams / gram grams gramme grammes g / kg kilogram kilograms kilo kilos
/ ounce ounces oz / pound pounds lb lbs / ton tons / tonne tonnes / ml millilitre millilitres milliliter milliliters
/ litre litres liter liters l / gallon gallons / cup cups / tablespoon tablespoons tbsp / teaspoon teaspoons tsp
/ celsius / fahrenheit / kelvin / bit bits / byte bytes / kb kilobyte kilobytes
/ mb megabyte megabytes / gb gigabyte gigabytes / tb terabyte terabytes / kib / mib / gib / hz / khz / mhz / ghz
/ w watt watts / kw kilowatt kilowatts / kwh / v volt volts / amp amps ampere amperes / cal calorie calories / kcal
/ joule joules / pa pascal pascals / bar / psi / mph / kmh / acre acres / hectare hectares / degree degrees
/ radian radians / percent % / dollar dollars usd $ / euro euros eur € / gbp £ / yen jpy ¥ / rupee rupees inr ₹
/ cent cents
"""
"""Spellings of one unit between two `/`."""

COUNTED: Final = """
ns nanosecond nanoseconds / ms millisecond milliseconds / second seconds sec secs s / minute minutes min mins
/ hour hours hr hrs h / day days daily / week weeks weekly / month months monthly / year years yearly annual annually
/ decade decades / century centuries
/ minuten stunde stunden tag tage woche wochen monat monate jahr jahre / sekunde sekunden
/ heure heures / jour jours / semaine semaines / mois / an ans année années
/ hora horas / día días / semana semanas / mes meses / año años / minuto minutos / segundo segundos
/ pixel pixels px / token tokens / word words / page pages / line lines / character characters / item items
"""
"""Units only where a number stands before them: `in which year` has none."""

DATES: Final = """
january jan / february feb / march / april apr / june jun / july jul / august aug / september sep sept
/ october oct / november nov / december dec / monday / tuesday / wednesday / thursday / friday / saturday / sunday / today / tomorrow / yesterday / tonight / noon / midnight / morning / afternoon
/ evening / am a.m / pm p.m / next / previous / weekend / weekday / quarter / ago
/ januar / februar / märz / mai / juni / juli / oktober / dezember / heute / morgen / gestern
/ janvier / février / mars / avril / juin / juillet / août / septembre / octobre / novembre / décembre
/ aujourd'hui / demain / hier / enero / febrero / marzo / mayo / junio / julio / septiembre / noviembre / diciembre
/ hoy / mañana / ayer / lunes / martes / miércoles / jueves / viernes / sábado / domingo
"""

NUMBER_WORDS: Final[Mapping[str, str]] = {
    "zero": "0", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14",
    "fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20",
    "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80",
    "ninety": "90", "hundred": "100", "thousand": "1000", "million": "1000000", "billion": "1000000000",
    "dozen": "12", "half": "1/2", "twice": "x2", "third": "3rd", "fourth": "4th", "fifth": "5th",
    "zwei": "2", "drei": "3", "vier": "4", "fünf": "5", "sechs": "6", "sieben": "7", "acht": "8", "neun": "9",
    "zehn": "10", "elf": "11", "zwölf": "12", "hundert": "100", "tausend": "1000",
    "deux": "2", "trois": "3", "quatre": "4", "cinq": "5", "sept": "7", "huit": "8", "neuf": "9", "dix": "10",
    "cent": "100", "mille": "1000", "dos": "2", "tres": "3", "cuatro": "4", "cinco": "5", "seis": "6",
    "siete": "7", "ocho": "8", "nueve": "9", "diez": "10", "cien": "100", "mil": "1000",
    "二": "2", "两": "2", "三": "3", "四": "4", "五": "5", "六": "6", "七": "7", "八": "8", "九": "9", "十": "10",
    "百": "100", "千": "1000", "万": "10000", "萬": "10000", "億": "100000000", "亿": "100000000",
}  # fmt: skip
"""`one` is missing: it is a pronoun as often."""

PREFIXES: Final = (
    "", "un", "in", "im", "il", "ir", "dis", "de", "en", "em", "non", "anti", "ex", "re", "pre", "post", "up",
    "down", "over", "under", "inter", "intra", "sub", "super", "hyper", "hypo", "macro", "micro", "mono", "multi",
    "a", "ab", "an", "auf", "aus", "ein", "ent", "ver", "zu", "dé", "dés", "des", "mal", "mis", "auto", "out", "bi",
    "onto", "on", "off", "im", "as", "sync", "async",
)  # fmt: skip
"""Two words that share the rest and differ in one of these are likely opposites: `import`, `export`."""


@functools.cache
def negators() -> frozenset[str]:
    """Words that deny."""
    return frozenset(NEGATORS.split())


@functools.cache
def families() -> Mapping[str, tuple[tuple[int, int], ...]]:
    """Of each word, the families that it is in, and for which alternative it stands there."""
    found: dict[str, list[tuple[int, int]]] = {}
    for number, line in enumerate(FAMILIES.strip().splitlines()):
        for alternative, words in enumerate(line.split("/")):
            for word in words.split():
                found.setdefault(word, []).append((number, alternative))
    return {word: tuple(places) for word, places in found.items()}


@functools.cache
def units() -> Mapping[str, str]:
    """Of each spelling of a unit, the first one."""
    return _first_of_each(UNITS)


@functools.cache
def counted() -> Mapping[str, str]:
    """Of each spelling of a unit that may follow a number, the first one."""
    return {**_first_of_each(COUNTED), **units()}


@functools.cache
def dates() -> Mapping[str, str]:
    """Of each name in the calendar, the first spelling."""
    return _first_of_each(DATES)


@functools.cache
def comparatives() -> Mapping[str, str]:
    """Of each word that compares or bounds, the first with its sense."""
    return {**_first_of_each(COMPARATIVES), **_first_of_each(QUANTIFIERS)}


@functools.cache
def prefixes() -> frozenset[str]:
    """Beginnings that turn a word around, and no beginning at all."""
    return frozenset(PREFIXES)


def _first_of_each(listing: str) -> dict[str, str]:
    first: dict[str, str] = {}
    for group in listing.replace("\n", " ").split(" / "):
        words = group.replace("/ ", "").split()
        first |= dict.fromkeys(words, words[0])
    return first
