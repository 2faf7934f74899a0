"""What the name of a column says: its words in any case style, and whether they tell an id, a time, an outcome, ...

`userId`, `UserID`, `user_id`, `user-id`, `user.id`, `USERID` and `userid` have the same two words.
"""

from __future__ import annotations

import functools
import re

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+")

ID_WORDS = frozenset(
    "id ids uid uuid guid pid iid vid aid sid cid gid mid key keys code hash hashed token sku asin isbn ean idx "
    "encoded idfa gaid zip zipcode postcode ip".split())
# What logs have many of, and tell apart by a number or a text.
_THINGS = frozenset(
    "user users item items ad ads account action advertiser album app area article artist author banner book brand "
    "browser buyer campaign cart cat cate category categories channel city client cookie country coupon creative "
    "creator customer device doc document domain event feed game genre group hotel household image impression keyword "
    "language listing local member merchant movie music news node offer order os page partner person place placement "
    "player playlist poi post product profile publisher query reader recipe record referer referrer region request "
    "restaurant retailer room row search segment seller session shop site slot song source state store street "
    "subcategory subscriber supplier tag tags thread topic track transaction url venue video viewer visit visitor "
    "website".split())
# Things of which each row has its own.
_ROW_THINGS = frozenset("request impression event row record transaction order visit log line".split())
_TIME_WORDS = frozenset("time timestamp ts datetime date dt ds at when stamp epoch day hour minute moment t unixtime "
                        "month".split())
_UNITS = frozenset("s sec secs second seconds ms msec millis millisecond milliseconds us micros microseconds ns nanos "
                   "nanoseconds utc gmt unix local iso".split())
# What is known only after the impression was shown.
_OUTCOMES = frozenset(
    "label labels target click clicks clicked clk like likes liked dislike dislikes disliked convert converted "
    "conversion conversions purchase purchased purchases bought buy ordered follow followed follows comment commented "
    "comments share shared shares forward forwarded hate hated dwell revenue gmv reward response outcome rated rating "
    "ratings stars finish finished completed completion install installed subscribed unsubscribed favorite favorited "
    "favourite favourited collected bounced bounce engaged engagement upvote upvoted downvote feedback watched viewed "
    "played skipped impressed addtocart checkout".split())
_SPENT = frozenset("play playing watch watching stay view viewing listen listening read reading spent dwell engagement "
                   "visible".split())
_MEASURES = frozenset("time duration ms sec secs seconds minutes ratio percent pct progress rate length".split())
_WEIGHTS = frozenset("weight weights propensity propensities ips pscore importance".split())
# Figures of what was before: they may have an outcome's name.
_HISTORY = frozenset("count counts cnt num number nb total sum avg average mean ctr cvr hist history historical past "
                     "previous prev prior last ago median recent freq frequency".split())
_QUANTITIES = frozenset(
    "age price prices cost amount amounts count counts cnt num number nb total sum avg average mean duration length "
    "size width height distance score rate ratio percent pct quantity qty days hours minutes seconds ms year years "
    "salary income lat latitude lon lng longitude temperature budget discount bid volume views plays level".split())
# Properties of a user or an item that are often 0 or 1: no label by themselves.
_PROPERTIES = frozenset("mobile gender sex male female premium vip member weekend holiday new active paid free adult "
                        "married student organic sponsored test train logged registered verified available "
                        "stock".split())
_FILLERS = frozenset("is has had did was the of in to a by my".split())
_RANKED_LABELS = ("label", "target", "clicked", "click", "clk", "y", "converted", "conversion", "purchased", "purchase",
                  "long view", "like", "liked", "likes", "bought", "engaged")
_RATINGS = frozenset("rating ratings stars score r".split())
_EVENT_NAMES = frozenset("event events action behavior behaviour interaction activity".split())
# Values of a column of events.
EVENT_VALUES = frozenset("view click clicked addtocart add_to_cart cart transaction purchase buy impression order like "
                         "fav favorite share pv play skip remove_from_cart removefromcart detail checkout".split())
# Those of them that say what was shown or undone, and not that somebody acted on it.
SHOWN_EVENTS = frozenset("view pv impression detail skip remove_from_cart removefromcart".split())
# Those that people predict first, where none says what was shown alone.
STRONGEST_EVENTS = ("purchase", "buy", "order", "transaction", "checkout", "addtocart", "add_to_cart", "cart")
_KNOWN = (ID_WORDS | _THINGS | _TIME_WORDS | _OUTCOMES | _SPENT | _MEASURES | _WEIGHTS | _HISTORY | _QUANTITIES |
          _PROPERTIES | _EVENT_NAMES | _FILLERS | (_UNITS - {"local"}) |
          frozenset("type name long enter sample sampling prob row index unnamed start end created updated event first "
                    "visit session server log review".split()))


@functools.lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
  """The words of a name in lower case, also of one that is written together where the words are known."""
  parts: list[str] = []
  for part in _PARTS.findall(name):
    parts += _parted(part.lower())
  return tuple(parts)


def _parted(text: str) -> tuple[str, ...]:
  """The known words that a text consists of, as few as may be; the text itself where it does not."""
  if text in _KNOWN or not text.isascii() or len(text) > 40:
    return (text,)
  best: list[tuple[str, ...] | None] = [()] + [None] * len(text)
  for stop in range(2, len(text) + 1):
    for start in range(stop - 1):
      before, after = best[start], best[stop]
      if before is not None and text[start:stop] in _KNOWN and (after is None or len(before) + 1 < len(after)):
        best[stop] = (*before, text[start:stop])
  return best[-1] or (text,)


def _core(name: str) -> tuple[str, ...]:
  """The words without those that say nothing of the column."""
  return tuple(word for word in words(name) if word not in _FILLERS)


def is_id(name: str) -> bool:
  """Whether a name is that of an id: it has a word for ids, or ends with a thing that has one."""
  found = _core(name)
  if not found:
    return False
  if ID_WORDS & set(found):
    return True
  last = next((word for word in reversed(found) if not word.isdigit()), found[-1])
  return last in _THINGS


def is_lasting_id(name: str) -> bool:
  """Whether a name is that of an id that other rows have too, and not that of a row or of what it tells of."""
  return is_id(name) and not _ROW_THINGS & set(_core(name)) and _core(name) not in (("id",), ("uuid",), ("key",))


def is_time(name: str) -> bool:
  """Whether a name is that of a time: its last word is one for times, but for a unit; an id is none."""
  found = [word for word in _core(name) if word not in _UNITS]
  return bool(found) and found[-1] in _TIME_WORDS | {"created", "updated"} and not is_id(name) and not is_spent(name)


def is_spent(name: str) -> bool:
  """Whether a name tells how long somebody stayed, which is known afterwards."""
  found = set(_core(name))
  return bool(found & _SPENT) and bool(found & _MEASURES)


def is_outcome(name: str) -> bool:
  """Whether a name tells what is known only after the impression was shown."""
  found = _core(name)
  return bool(_OUTCOMES & set(found)) or is_spent(name) or found in (("long", "view"), ("profile", "enter"))


def is_history(name: str) -> bool:
  """Whether a name tells a figure that may be of the time before."""
  return bool(_HISTORY & set(_core(name)))


def is_weight(name: str) -> bool:
  """Whether a name is that of a row's weight, or of the probability with which it was shown."""
  found = set(_core(name))
  return bool(found & _WEIGHTS) or {"sampling", "rate"} <= found or {"sampling", "prob"} <= found


def is_quantity(name: str) -> bool:
  """Whether a name tells how much or how many."""
  return bool(_QUANTITIES & set(_core(name))) and not ID_WORDS & set(_core(name))


def is_property(name: str) -> bool:
  """Whether a name tells a property of somebody or something, which may be 0 or 1 without being a label."""
  return bool(_PROPERTIES & set(_core(name))) or is_id(name)


def label_rank(name: str) -> int | None:
  """The place of a name among those of labels, 0 for the most telling one; None for a name of another kind.

  Of a value within an object, as `event.clicked`, its own name may tell it.
  """
  texts = [" ".join(_core(name)), " ".join(_core(name.rpartition(".")[2]))]
  return next((_RANKED_LABELS.index(text) for text in texts if text in _RANKED_LABELS), None)


def is_rating(name: str) -> bool:
  """Whether a name is that of a rating."""
  return bool(_RATINGS & set(_core(name)))


def is_event(name: str) -> bool:
  """Whether a name is that of a column that says what happened."""
  found = [word for word in _core(name) if word not in ("type", "name")]
  return len(found) == 1 and found[0] in _EVENT_NAMES


def is_row_index(name: str) -> bool:
  """Whether a name is one that pandas and others give to the number of a row."""
  return words(name) in ((), ("unnamed", "0"), ("index",), ("index", "level", "0"), ("row",), ("row", "id"),
                         ("row", "number"), ("row", "num"), ("level", "0"))
